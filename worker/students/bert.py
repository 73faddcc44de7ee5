"""BERT with a classifier on its first token. Names are those of a BertForSequenceClassification of Hugging Face.

Devlin et al. 2019, arXiv:1810.04805: each sublayer is followed by its residual sum and a layer norm. Weights start as
there: normal with a deviation of 0.02, biases 0. The mask of the tokens that count is read off the ids.
Shapes: N texts, L tokens, H hidden.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The id of what fills a text up.
PAD = 0
_EPS = 1e-12
_SEGMENTS = 2


class Embeddings(nn.Module):
    """What a token is and where it stands; all tokens are of the first segment."""

    def __init__(self, vocabulary: int, hidden: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, hidden, padding_idx=PAD)
        self.position_embeddings = nn.Embedding(positions, hidden)
        self.token_type_embeddings = nn.Embedding(_SEGMENTS, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids_NL: Tensor) -> Tensor:
        """(N, L) to (N, L, H)."""
        place = self.position_embeddings.weight[: ids_NL.shape[1]]
        x = self.word_embeddings(ids_NL) + (place + self.token_type_embeddings.weight[0])
        out: Tensor = self.dropout(self.LayerNorm(x))
        return out


class SelfAttention(nn.Module):
    """Heads side by side. `joined` is where queries, keys and values can be read, one after the other (N, L, 3 H)."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.joined = nn.Identity()
        self._heads, self._dropout = heads, dropout

    def forward(self, x_NLH: Tensor, seen_N11L: Tensor) -> Tensor:
        """(N, L, H) to (N, L, H); no token looks at padding."""
        three = (self.query, self.key, self.value)
        weight, bias = torch.cat([part.weight for part in three]), torch.cat([part.bias for part in three])
        joined: Tensor = self.joined(F.linear(x_NLH, weight, bias))
        q, k, v = (part.reshape(*part.shape[:2], self._heads, -1).transpose(1, 2) for part in joined.chunk(3, 2))
        dropped = self._dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen_N11L, dropout_p=dropped)
        return out.transpose(1, 2).flatten(2)


class Output(nn.Module):
    """The end of a sublayer: a linear layer, the residual sum, a layer norm."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, before_NLH: Tensor) -> Tensor:
        """(N, L, inputs) to (N, L, H)."""
        out: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + before_NLH)
        return out


class Attention(nn.Module):
    """The first sublayer."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self = SelfAttention(hidden, heads, dropout)
        self.output = Output(hidden, hidden, dropout)

    def forward(self, x_NLH: Tensor, seen_N11L: Tensor) -> Tensor:
        """(N, L, H) to (N, L, H)."""
        out: Tensor = self.output(self.self(x_NLH, seen_N11L), x_NLH)
        return out


class Intermediate(nn.Module):
    """The wide half of the second sublayer."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, width)

    def forward(self, x_NLH: Tensor) -> Tensor:
        """(N, L, H) to (N, L, width)."""
        return F.gelu(self.dense(x_NLH))


class Layer(nn.Module):
    """Attention, then a perceptron on each token."""

    def __init__(self, hidden: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads, dropout)
        self.intermediate = Intermediate(hidden, width)
        self.output = Output(width, hidden, dropout)

    def forward(self, x_NLH: Tensor, seen_N11L: Tensor) -> Tensor:
        """(N, L, H) to (N, L, H)."""
        x_NLH = self.attention(x_NLH, seen_N11L)
        out: Tensor = self.output(self.intermediate(x_NLH), x_NLH)
        return out


class Encoder(nn.Module):
    """The layers."""

    def __init__(self, layers: int, hidden: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(hidden, heads, width, dropout) for _ in range(layers))

    def forward(self, x_NLH: Tensor, seen_N11L: Tensor) -> Tensor:
        """(N, L, H) to (N, L, H)."""
        for layer in self.layer:
            x_NLH = layer(x_NLH, seen_N11L)
        return x_NLH


class Pooler(nn.Module):
    """The text as its first token says it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)

    def forward(self, x_NLH: Tensor) -> Tensor:
        """(N, L, H) to (N, H)."""
        return torch.tanh(self.dense(x_NLH[:, 0]))


class Trunk(nn.Module):
    """All but the classifier."""

    def __init__(
        self, vocabulary: int, positions: int, layers: int, hidden: int, heads: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, hidden, positions, dropout)
        self.encoder = Encoder(layers, hidden, heads, width, dropout)
        self.pooler = Pooler(hidden)

    def forward(self, ids_NL: Tensor) -> Tensor:
        """(N, L) to (N, H)."""
        seen_N11L = (ids_NL != PAD)[:, None, None, :]
        out: Tensor = self.pooler(self.encoder(self.embeddings(ids_NL), seen_N11L))
        return out


class Bert(nn.Module):
    """The trunk and a linear head."""

    def __init__(self, trunk: Trunk, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.bert = trunk
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, outputs)
        self.apply(_start)

    def forward(self, ids_NL: Tensor) -> Tensor:
        """Token ids (N, L), whole numbers of any width, to (N, outputs)."""
        logits: Tensor = self.classifier(self.dropout(self.bert(ids_NL)))
        return logits


def _start(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Embedding):
        nn.init.normal_(part.weight, std=0.02)
    if isinstance(part, nn.Linear):
        nn.init.zeros_(part.bias)
    if isinstance(part, nn.Embedding) and part.padding_idx is not None:
        with torch.no_grad():
            part.weight[part.padding_idx].zero_()


def build(
    in_shape: tuple[int, ...],
    num_outputs: int,
    *,
    layers: int = 2,
    hidden: int = 128,
    heads: int | None = None,
    intermediate: int | None = None,
    max_positions: int = 512,
    dropout: float = 0.1,
) -> Bert:
    """The network for texts of `in_shape` (size of the vocabulary, tokens)."""
    if len(in_shape) != 2:
        raise ValueError(f"a bert takes texts (vocabulary, tokens), the data has {list(in_shape)}", "type")
    vocabulary, length = in_shape
    if length > max_positions:
        raise ValueError(f"texts of {length} tokens need as many positions, got {max_positions}", "max_positions")
    heads = heads or max(1, hidden // 64)
    if hidden % heads:
        raise ValueError(f"{heads} heads must divide the hidden width {hidden}", "heads")
    width = intermediate or 4 * hidden
    return Bert(Trunk(vocabulary, max_positions, layers, hidden, heads, width, dropout), hidden, num_outputs, dropout)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "classifier"


def stages(net: Bert) -> list[str]:
    """Paths of the layers, whose outputs are the hidden states (N, L, H)."""
    return [f"bert.encoder.layer.{at}" for at in range(len(net.bert.encoder.layer))]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Size of the vocabulary and outputs, off a state_dict's shapes."""
    return shapes["bert.embeddings.word_embeddings.weight"][0], shapes["classifier.weight"][0]


def guess(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """The config of a BERT with these shapes; None where it is none. Heads leave no trace in the shapes."""
    try:
        positions, hidden = shapes["bert.embeddings.position_embeddings.weight"]
        width = shapes["bert.encoder.layer.0.intermediate.dense.weight"][0]
    except (KeyError, ValueError, IndexError):
        return None
    layers = len({name.split(".")[3] for name in shapes if name.startswith("bert.encoder.layer.")})
    found = {"layers": layers, "hidden": hidden}
    if width != 4 * hidden:
        found["intermediate"] = width
    return found if positions == 512 else {**found, "max_positions": positions}

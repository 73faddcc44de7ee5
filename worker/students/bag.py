"""A bag of tokens: the mean of their embeddings, then a perceptron. Where words stand is lost.

Joulin et al. 2017, arXiv:1607.01759 (fastText, without its n-grams) has no hidden layer; Iyyer et al. 2015, "Deep
unordered composition rivals syntactic methods for text classification", has some.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

#: The id of what fills a text up.
PAD = 0


class Hidden(nn.Module):
    """Linear and ReLU. Dropout follows outside of it, so that a tap here sees no noise."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return torch.relu(self.linear(x))


class Bag(nn.Module):
    """The mean over all tokens but the padding, hidden layers, a linear head."""

    def __init__(self, vocabulary: int, outputs: int, embedding: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        widths = [embedding, *hidden]
        self.embedding = nn.EmbeddingBag(vocabulary, embedding, mode="mean", padding_idx=PAD)
        # So that the mean of a few dozen has a size of about one.
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.hidden = nn.ModuleList(Hidden(a, b) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, ids_NL: Tensor) -> Tensor:
        """Token ids (N, L), whole numbers of any width, to (N, outputs)."""
        x = self.dropout(self.embedding(ids_NL))
        for hidden in self.hidden:
            x = self.dropout(hidden(x))
        logits: Tensor = self.head(x)
        return logits


def build(
    in_shape: tuple[int, ...],
    num_outputs: int,
    *,
    embedding: int = 64,
    hidden: Sequence[int] = (),
    dropout: float = 0.1,
) -> Bag:
    """The network for texts of `in_shape` (size of the vocabulary, tokens)."""
    if len(in_shape) != 2:
        raise ValueError(f"a bag takes texts (vocabulary, tokens), the data has {list(in_shape)}", "type")
    return Bag(in_shape[0], num_outputs, embedding, hidden, dropout)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "head"


def stages(net: Bag) -> list[str]:
    """Paths of the mean and of the hidden layers."""
    return ["embedding", *(f"hidden.{at}" for at in range(len(net.hidden)))]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Size of the vocabulary and outputs, off a state_dict's shapes."""
    return shapes["embedding.weight"][0], shapes["head.weight"][0]

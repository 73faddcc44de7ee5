"""Convolutions over the embeddings of neighbouring tokens, of each filter the greatest value in the text.

Kim 2014, arXiv:1408.5882. Texts are padded by half a window on each side, so that one of any length can be read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: The id of what fills a text up.
PAD = 0
#: Deviation of the embeddings at the start: the greatest of many values is far from 0.
_START = 0.1


class Windows(nn.Module):
    """Filters of several widths, rectified, and the greatest value of each."""

    def __init__(self, embedding: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(embedding, channels, width, padding=width // 2) for width in widths)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x_NDL: Tensor) -> Tensor:
        """(N, D, L) to (N, widths x channels)."""
        return torch.cat([torch.relu(conv(x_NDL).amax(2)) for conv in self.convs], 1)


class TextCnn(nn.Module):
    """Embeddings, windows, dropout, a linear head."""

    def __init__(
        self, vocabulary: int, outputs: int, embedding: int, channels: int, widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PAD)
        with torch.no_grad():
            self.embedding.weight.mul_(_START)  # the padding stays 0
        self.windows = Windows(embedding, channels, widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels * len(widths), outputs)

    def forward(self, ids_NL: Tensor) -> Tensor:
        """Token ids (N, L), whole numbers of any width, to (N, outputs)."""
        logits: Tensor = self.head(self.dropout(self.windows(self.embedding(ids_NL).transpose(1, 2))))
        return logits


def build(
    in_shape: tuple[int, ...],
    num_outputs: int,
    *,
    embedding: int = 64,
    channels: int = 100,
    widths: Sequence[int] = (3, 4, 5),
    dropout: float = 0.5,
) -> TextCnn:
    """The network for texts of `in_shape` (size of the vocabulary, tokens)."""
    if len(in_shape) != 2:
        raise ValueError(f"a text_cnn takes texts (vocabulary, tokens), the data has {list(in_shape)}", "type")
    return TextCnn(in_shape[0], num_outputs, embedding, channels, widths, dropout)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "head"


def stages(_net: nn.Module) -> list[str]:
    """Path of what the windows found."""
    return ["windows"]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Size of the vocabulary and outputs, off a state_dict's shapes."""
    return shapes["embedding.weight"][0], shapes["head.weight"][0]

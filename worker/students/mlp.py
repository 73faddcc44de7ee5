"""A multi-layer perceptron for rows, and for small images, which it flattens.

Rumelhart, Hinton, Williams 1986. Weights start as He et al. 2015, arXiv:1502.01852 have it for ReLU.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


class Hidden(nn.Module):
    """Linear, batch norm where asked for, ReLU. Dropout follows outside of it, so that a tap here sees no noise."""

    def __init__(self, inputs: int, outputs: int, batch_norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs) if batch_norm else nn.Identity()
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return torch.relu(self.norm(self.linear(x)))


class MLP(nn.Module):
    """Hidden layers, then a linear head."""

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], dropout: float, batch_norm: bool) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.hidden = nn.ModuleList(Hidden(a, b, batch_norm) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, outputs)."""
        x = x.flatten(1)
        for hidden in self.hidden:
            x = self.dropout(hidden(x))
        logits: Tensor = self.head(x)
        return logits


def build(
    in_shape: tuple[int, ...],
    num_outputs: int,
    *,
    hidden: Sequence[int] = (256, 128),
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> MLP:
    """The network for one input of `in_shape`, of any rank."""
    return MLP(prod(in_shape), num_outputs, hidden, dropout, batch_norm)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "head"


def stages(net: MLP) -> list[str]:
    """Paths of the hidden layers."""
    return [f"hidden.{at}" for at in range(len(net.hidden))]


def chain(net: MLP) -> list[nn.Linear]:
    """Its linear layers, where ReLU alone lies between them."""
    parts = [*net.hidden.modules(), net.dropout]
    other = any(isinstance(part, nn.BatchNorm1d) or (isinstance(part, nn.Dropout) and part.p) for part in parts)
    return [] if other else [part for part in net.modules() if isinstance(part, nn.Linear)]


def infer(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> tuple[int, int]:
    """Input features and outputs, off a state_dict's shapes."""
    first = "hidden.0.linear.weight" if config["hidden"] else "head.weight"
    return shapes[first][1], shapes["head.weight"][0]


def guess(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """The config of a perceptron with these shapes, whatever its layers are called; None where it is none."""
    matrices = [shape for shape in shapes.values() if len(shape) == 2]
    chained = all(a[0] == b[1] for a, b in pairwise(matrices))
    if not matrices or not chained or any(len(shape) > 2 for shape in shapes.values()):
        return None
    batch_norm = any(key.endswith("running_mean") for key in shapes)
    return {"hidden": [shape[0] for shape in matrices[:-1]], **({"batch_norm": True} if batch_norm else {})}

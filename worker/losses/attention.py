"""Attention transfer: maps of where features are large, each over its length, compared.

Zagoruyko, Komodakis 2017, arXiv:1612.03928. Equation 2 takes the length of the difference (`form: paper`); the code
published with it averages the squared difference over places (`form: code`), and most later work follows the code.
Channels are averaged, so the widths may differ; the larger map is averaged down. Sequences have tokens for places.
"""

import torch
from torch import Tensor

from models.spec.losses import structure as menu
from worker.engine import align
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class Attention(Term):
    """The difference of two attention maps, averaged over samples and then taps."""

    def __init__(self, spec: menu.Attention, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        self.squared = spec.form == "code"
        align.refuse_vectors("attention", self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where both are large at the same places."""
        values = []
        for pair in self.pairs:
            s, t = align.read(pair, student, teacher)
            difference_NP = _map(s) - _map(t)
            values.append(batch.mean(difference_NP.square().mean(1) if self.squared else _length(difference_NP)))
        return torch.stack(values).mean()


def _map(x: Tensor) -> Tensor:
    """(N, places), of length 1."""
    return unit(align.places(x).square().mean(1), 1)


def _length(x_NP: Tensor) -> Tensor:
    """(N,); its gradient is 0 where it is."""
    length_N: Tensor = torch.linalg.vector_norm(x_NP, dim=1)
    return length_N

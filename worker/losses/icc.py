"""Inter-channel correlation: the Gram matrices of a feature's channels, each row over its length, compared.

Liu et al. 2021, ICKD, arXiv:2202.03680, equations 2 to 4. The student goes through a 1x1 convolution where the widths
differ; the sizes of the maps need not agree.
"""

import torch
from torch import Tensor

from models.spec.losses import structure as menu
from worker.engine import align
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class ICC(Term):
    """||g_s^c - g_t^c||^2, averaged over channels, samples and then taps."""

    def __init__(self, spec: menu.ICC, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        align.refuse_vectors("icc", self.pairs, student, teacher)
        self.projectors = align.connectors(self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the same channels go together."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = align.read(pair, student, teacher)
            values.append(batch.mean((_rows(projector(s)) - _rows(t)).square().sum(2).mean(1)))
        return torch.stack(values).mean()


def _rows(x: Tensor) -> Tensor:
    """(N, C, C), each row of length 1."""
    x_NCP = align.places(x)
    return unit(x_NCP @ x_NCP.transpose(1, 2), 2)

"""Variational information distillation: the likelihood of the teacher's features, with trained variances.

Ahn et al. 2019, arXiv:1904.05835, equations 3 to 6. The mean is the student's feature through the projector of `hint`;
each channel of the teacher has a variance softplus(a_c) + 1e-5. The variances are parameters of the term, trained with
the projector: kept in a plain list, as in copied code, they would stay at their start. The value may be negative.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term

_LEAST = 1e-5
_FIRST = math.log(math.expm1(5.0 - _LEAST))


class VID(Term):
    """((r(F_s) - F_t)^2 / v + log v) / 2, averaged over places, channels, samples and then taps."""

    least_at_teacher = False  # the variances have a best value of their own, which the features do not say

    def __init__(self, spec: menu.VID, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        align.refuse_unlike("vid", self.pairs, student, teacher)
        self.projectors = align.projectors(self.pairs, student, teacher)
        widths = [align.width(align.read(pair, student, teacher)[1]) for pair in self.pairs]
        self.spreads = nn.ParameterList(torch.full((width,), _FIRST) for width in widths)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Less where the projected features agree, and where a variance is that of what is left."""
        values = []
        for pair, projector, spread in zip(self.pairs, self.projectors, self.spreads, strict=True):
            s, t = align.read(pair, student, teacher)
            variance = F.softplus(spread) + _LEAST
            variance = variance[:, None, None] if t.ndim == 4 else variance
            each = ((projector(s) - t).square() / variance + variance.log()) / 2
            values.append(batch.mean(each.flatten(1).mean(1)))
        return torch.stack(values).mean()

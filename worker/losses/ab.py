"""Activation boundaries: the student's units on the same side of 0 as the teacher's, by a margin.

Heo et al. 2019, arXiv:1811.03233, equation 4: a squared hinge on what goes into the activations. Averaged over units
and taps, where the paper sums; the paper trains by this alone before it trains by labels.
"""

import torch
from torch import Tensor

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class AB(Term):
    """max(0, m - r(s))^2 where the teacher's unit is on, max(0, m + r(s))^2 elsewhere, averaged."""

    least_at_teacher = False  # the teacher's own units may be within the margin

    def __init__(self, spec: menu.AB, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.margin = spec.margin
        self.pairs = align.paired(spec.taps)
        align.refuse_unlike("ab", self.pairs, student, teacher)
        self.projectors = align.projectors(self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where all units are on the teacher's side, beyond the margin."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = align.read(pair, student, teacher)
            side = torch.where(t > 0, 1.0, -1.0).to(s.dtype)
            short = (self.margin - side * projector(s)).clamp_min(0)
            values.append(batch.mean(short.square().flatten(1).mean(1)))
        return torch.stack(values).mean()

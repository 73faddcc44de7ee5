"""Hints: squared error between the teacher's features and the student's, through a learned projector.

Romero et al. 2015, FitNets, arXiv:1412.6550, equation 3. The projector is a 1x1 convolution for maps and a linear
layer for vectors, without the ReLU that would keep it from reaching negative targets.
"""

import torch
from torch import Tensor

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class Hint(Term):
    """(r(F_s) - F_t)^2, averaged over places, channels, samples and then taps."""

    def __init__(self, spec: menu.Hint, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        align.refuse_unlike("hint", self.pairs, student, teacher)
        self.projectors = align.projectors(self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the projected features agree."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = align.read(pair, student, teacher)
            values.append(batch.mean((projector(s) - t).square().flatten(1).mean(1)))
        return torch.stack(values).mean()

"""Pearson correlation of channels: features less their mean, over their deviation, compared by squared error.

Cao et al. 2022, PKD, arXiv:2207.02039, equations 2 to 4: half the mean squared difference is 1 less the correlation.
Mean and deviation are those of a channel over samples and places. The student goes through a learned projector where
the widths differ.
"""

import torch
from torch import Tensor

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.lengths import standardised
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class PKD(Term):
    """(n(F_s) - n(F_t))^2 / 2, averaged over places, channels, samples and then taps."""

    def __init__(self, spec: menu.PKD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        align.refuse_unlike("pkd", self.pairs, student, teacher)
        self.projectors = align.connectors(self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where every channel rises and falls alike."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = align.read(pair, student, teacher)
            s, t = (align.places(x) if x.ndim > 2 else x for x in (projector(s), t))
            difference = standardised(s, batch) - standardised(t, batch)
            values.append(batch.mean(difference.square().flatten(1).mean(1)) / 2)
        return torch.stack(values).mean()

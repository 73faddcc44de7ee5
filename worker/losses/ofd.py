"""Overhaul of feature distillation: a margin ReLU on the teacher, and no error where both are off.

Heo et al. 2019, arXiv:1904.01866, equations 1 to 3, on what goes into the activations. The margin of a channel is the
mean of its negative values, taken over the batch (the paper also reckons it from a batch norm, which a graph may lack).
Averaged over units and taps, where the paper sums; the teacher's own statistics are left alone.
"""

import torch
from torch import Tensor

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class OFD(Term):
    """(r(F_s) - max(F_t, m))^2 but where r(F_s) <= max(F_t, m) <= 0, averaged."""

    def __init__(self, spec: menu.OFD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        align.refuse_unlike("ofd", self.pairs, student, teacher)
        self.projectors = align.projectors(self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where units agree as far as the activation lets them matter."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = align.read(pair, student, teacher)
            s, t = projector(s), torch.maximum(t, _margin(t, batch))
            matters = ((s > t) | (t > 0)).to(s.dtype)
            values.append(batch.mean((matters * (s - t).square()).flatten(1).mean(1)))
        return torch.stack(values).mean()


def _margin(t: Tensor, batch: Batch) -> Tensor:
    """The mean of each channel's negative values, broadcastable to t; 0 where a channel has none."""
    over = [0, *range(2, t.ndim)] if t.ndim == 4 else list(range(t.ndim - 1))
    share = batch.shares(t).reshape(-1, *[1] * (t.ndim - 1))
    weight = share * (t < 0).to(t.dtype)
    total = weight.sum(over, keepdim=True)
    return (weight * t).sum(over, keepdim=True) / torch.where(total > 0, total, torch.ones_like(total))

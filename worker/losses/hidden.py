"""Hidden states of chosen layers: squared error or cosine, token by token.

Jiao et al. 2020, TinyBERT, arXiv:1909.10351, equation 8 (mse through a learned matrix); Sanh et al. 2019, DistilBERT,
arXiv:1910.01108 (cosine). Sequences (N, L, D) of one length, or one vector a sample (N, D), such as that of a class
token. The matrix has no bias, as in TinyBERT, and is left out where the widths agree.
"""

import torch
from torch import Tensor, nn

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class Hidden(Term):
    """(W h_s - h_t)^2, or 1 - cos(W h_s, h_t), averaged over tokens, samples and then taps."""

    def __init__(self, spec: menu.Hidden, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs, self.cosine = align.paired(spec.taps), spec.measure == "cosine"
        self.projectors = nn.ModuleList()
        for at, pair in enumerate(self.pairs):
            s, t = student.features[pair.student], teacher.features[pair.teacher]
            if s.ndim != t.ndim or s.ndim not in (2, 3) or s.shape[1:-1] != t.shape[1:-1]:
                align.refuse("hidden", at, s, t, "it takes two sequences of one length or two vectors; hint takes maps")
            same = s.shape[-1] == t.shape[-1]
            self.projectors.append(nn.Identity() if same else nn.Linear(s.shape[-1], t.shape[-1], bias=False))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the projected states agree."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = projector(full(student.features[pair.student])), full(teacher.features[pair.teacher])
            each = 1 - (unit(s, -1) * unit(t, -1)).sum(-1, keepdim=True) if self.cosine else (s - t).square()
            values.append(batch.mean(each.flatten(1).mean(1)))
        return torch.stack(values).mean()

"""Hidden states of chosen layers: squared error or cosine, token by token.

Jiao et al. 2020, TinyBERT, arXiv:1909.10351, equation 8 (mse through a learned matrix); Sanh et al. 2019, DistilBERT,
arXiv:1910.01108 (cosine). Sequences (N, L, D) of one length, or one vector a sample (N, D), such as that of a class
token; sequences of unlike length, or one and a map, are brought to the same places first. The matrix has no bias, as in
TinyBERT, and is left out where the widths agree.
"""

import torch
from torch import Tensor, nn

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class Hidden(Term):
    """(W h_s - h_t)^2, or 1 - cos(W h_s, h_t), averaged over tokens, samples and then taps."""

    def __init__(self, spec: menu.Hidden, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs, self.cosine = align.paired(spec.taps), spec.measure == "cosine"
        self.projectors = nn.ModuleList()
        align.refuse_unlike("hidden", self.pairs, student, teacher)
        for at, pair in enumerate(self.pairs):
            s, t = student.features[pair.student], teacher.features[pair.teacher]
            if not s.ndim == t.ndim == 2 and 3 not in {s.ndim, t.ndim}:
                align.refuse("hidden", at, s, t, "it takes sequences or two vectors; hint takes maps")
            s, t = (align.tokens(x) for x in align.read(pair, student, teacher))
            same = s.shape[-1] == t.shape[-1]
            self.projectors.append(nn.Identity() if same else nn.Linear(s.shape[-1], t.shape[-1], bias=False))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the projected states agree."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = (align.tokens(x) for x in align.read(pair, student, teacher))
            s = projector(s)
            each = 1 - (unit(s, -1) * unit(t, -1)).sum(-1, keepdim=True) if self.cosine else (s - t).square()
            values.append(batch.mean(each.flatten(1).mean(1)))
        return torch.stack(values).mean()

"""Flow of solution procedure: the Gram matrices between the channels of one stage and of the next, compared.

Yim et al. 2017, "A gift from knowledge distillation", CVPR, equations 1 and 2. Each pair of taps and the one after it
make one matrix; the larger of two stages is averaged down. The matrices must be of one size, so the widths must agree.
"""

from itertools import pairwise

import torch
from torch import Tensor

from core.errors import UserConfig
from models.spec.losses import structure as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class FSP(Term):
    """(G_s - G_t)^2, averaged over entries, samples and then neighbouring taps."""

    fits_float16 = False  # it grows as the third power of the features

    def __init__(self, spec: menu.FSP, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        if len(self.pairs) < 2:
            raise UserConfig.at(
                "/taps", "fsp compares each stage with the next: name at least two", code="too_few_taps"
            )
        align.refuse_all_but_maps("fsp", self.pairs, student, teacher)
        for at, pair in enumerate(self.pairs):
            s, t = align.read(pair, student, teacher)
            if s.shape[1] != t.shape[1]:
                align.refuse("fsp", at, s, t, "it needs as many channels on both sides; icc does not")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where channels of neighbouring stages go together alike."""
        features = [align.read(pair, student, teacher) for pair in self.pairs]
        values = []
        for (s, t), (next_s, next_t) in pairwise(features):
            values.append(batch.mean((_flow(s, next_s) - _flow(t, next_t)).square().mean((1, 2))))
        return torch.stack(values).mean()


def _flow(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    """(N, channels of x, channels of y)."""
    x_NCP, y_NCP = (align.places(z) for z in align.alike(x_NCHW, y_NCHW))
    return x_NCP @ y_NCP.transpose(1, 2) / x_NCP.shape[2]

"""Knowledge review: deep stages of the student, fused into shallow ones, learn from the teacher's shallow stages.

Chen et al. 2021, arXiv:2104.09044, section 3: attention-based fusion from the deepest stage to the shallowest, and the
hierarchical context loss, which compares two maps at several sizes. The published code has a batch norm after each
convolution but the attention's; here there is none, as in the projectors of other losses, so that the term keeps no
statistics and a sample of weight 0 is not there. Maps need not be square; a vector is a map of one place.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term

#: Places a side to which maps are averaged down after they have been compared as they are; each counts half of the one
#: before.
_LEVELS = (4, 2, 1)


class ReviewKD(Term):
    """The hierarchical context loss of each fused stage, averaged over samples and then taps."""

    least_at_teacher = False  # a fusion of several stages is not one of them

    def __init__(self, spec: menu.ReviewKD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.ramp, self.pairs = spec.ramp, align.paired(spec.taps)
        align.refuse_unlike("reviewkd", self.pairs, student, teacher)
        features = [_maps(*align.read(pair, student, teacher)) for pair in self.pairs]
        width = min(spec.width, features[-1][0].shape[1])
        self.inward = nn.ModuleList(nn.Conv2d(s.shape[1], width, kernel_size=1) for s, _ in features)
        self.attention = nn.ModuleList(nn.Conv2d(2 * width, 2, kernel_size=1) for _ in features[:-1])
        self.outward = nn.ModuleList(nn.Conv2d(width, t.shape[1], kernel_size=3, padding=1) for _, t in features)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Less where each stage of the teacher can be made of the student's stage and those after it."""
        values, fused = [], None
        for at in reversed(range(len(self.pairs))):
            s, t = _maps(*align.read(self.pairs[at], student, teacher))
            fused = self._fuse(at, s, fused)
            values.append(batch.mean(_difference(self.outward[at](fused), t)))
        risen = min(batch.progress / self.ramp, 1.0) if self.ramp else 1.0
        return risen * torch.stack(values).mean()

    def _fuse(self, at: int, s_NCHW: Tensor, deeper: Tensor | None) -> Tensor:
        """The stage in the common width, each place a weighted sum with what lies deeper."""
        x: Tensor = self.inward[at](s_NCHW)
        if deeper is None:
            return x
        y = F.interpolate(deeper, x.shape[2:], mode="nearest")
        attention_N2HW = self.attention[at](torch.cat([x, y], 1)).sigmoid()
        fused: Tensor = x * attention_N2HW[:, :1] + y * attention_N2HW[:, 1:]
        return fused


def _maps(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (N, C, H, W): vectors have one place, sequences a row of places."""
    return _map(s), _map(t)


def _map(x: Tensor) -> Tensor:
    if x.ndim == 3:
        return x.transpose(1, 2)[:, :, None]
    return x[:, :, None, None] if x.ndim == 2 else x


def _difference(s_NCHW: Tensor, t_NCHW: Tensor) -> Tensor:
    """(N,): mean squares at each size, by their weights."""
    H, W = s_NCHW.shape[2:]
    value, weight, total = _mean_square(s_NCHW, t_NCHW), 1.0, 1.0
    for level in _LEVELS:
        size = (min(level, H), min(level, W))
        if size == (H, W):
            continue
        weight /= 2
        total += weight
        value = value + weight * _mean_square(*(F.adaptive_avg_pool2d(x, size) for x in (s_NCHW, t_NCHW)))
    return value / total


def _mean_square(s_NCHW: Tensor, t_NCHW: Tensor) -> Tensor:
    return (s_NCHW - t_NCHW).square().mean((1, 2, 3))

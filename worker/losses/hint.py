"""Hints: squared error between the teacher's features and the student's, through a learned projector.

Romero et al. 2015, FitNets, arXiv:1412.6550, equation 3. The projector is a 1x1 convolution for maps and a linear
layer for vectors, without the ReLU that would keep it from reaching negative targets. The larger of two maps is
averaged down to the smaller; a map that meets a vector is averaged over all of its places.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserConfig
from models.spec.losses import feature as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class Hint(Term):
    """(r(F_s) - F_t)^2, averaged over places, channels, samples and then taps."""

    def __init__(self, spec: menu.Hint, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        assert not isinstance(spec.taps, str), "the engine pairs the taps first"
        self.pairs = spec.taps
        self.projectors = nn.ModuleList()
        for at, pair in enumerate(self.pairs):
            s, t = student.features[pair.student], teacher.features[pair.teacher]
            _refuse_unlike(s, t, at)
            s, t = _alike(s, t)
            self.projectors.append(_projector(s, t))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the projected features agree."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = _alike(full(student.features[pair.student]), full(teacher.features[pair.teacher]))
            values.append(batch.mean((projector(s) - t).square().flatten(1).mean(1)))
        return torch.stack(values).mean()


def _projector(s: Tensor, t: Tensor) -> nn.Module:
    if s.ndim == 4:
        return nn.Conv2d(s.shape[1], t.shape[1], kernel_size=1)
    return nn.Linear(s.shape[-1], t.shape[-1])


def _alike(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The two with the same places, so that only their channels differ."""
    if s.ndim != t.ndim:
        return _vector(s), _vector(t)
    if s.ndim != 4 or s.shape[2:] == t.shape[2:]:
        return s, t
    size = (min(s.shape[2], t.shape[2]), min(s.shape[3], t.shape[3]))
    return F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)


def _vector(x: Tensor) -> Tensor:
    return x.mean((2, 3)) if x.ndim == 4 else x


def _refuse_unlike(s: Tensor, t: Tensor, at: int) -> None:
    ranks = {s.ndim, t.ndim}
    if ranks <= {2, 4} or (ranks == {3} and s.shape[1] == t.shape[1]):
        return
    raise UserConfig.at(
        f"/taps/{at}",
        f"hint cannot compare features of shape {list(s.shape[1:])} with {list(t.shape[1:])}: choose two maps, "
        "two vectors, a map and a vector, or two sequences of one length",
        code="taps_do_not_fit",
    )

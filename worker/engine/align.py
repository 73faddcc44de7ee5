"""Two features made comparable: the same places, and by a learned projector the same width.

Maps are (N, C, H, W), sequences (N, L, D), vectors (N, D). The larger of two maps is averaged down to the smaller; a
map that meets a vector is averaged over all of its places. What cannot be compared is refused with a pointer to the
pair of taps.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserConfig
from models.spec.losses.term import TapPair
from worker.engine.outputs import Outputs, full


def paired(taps: Sequence[TapPair] | str) -> list[TapPair]:
    """The pairs of a spec that the engine has been through: `auto` is gone by then."""
    assert not isinstance(taps, str), "the engine pairs the taps first"
    return list(taps)


def read(pair: TapPair, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """The two features of a pair as `alike` makes them, in float32 at least."""
    return alike(full(student.features[pair.student]), full(teacher.features[pair.teacher]))


def alike(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The two with the same places, so that only their widths differ."""
    if s.ndim != t.ndim:
        return vector(s), vector(t)
    if s.ndim != 4 or s.shape[2:] == t.shape[2:]:
        return s, t
    size = (min(s.shape[2], t.shape[2]), min(s.shape[3], t.shape[3]))
    return F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)


def vector(x: Tensor) -> Tensor:
    """A map's mean over its places; anything else as it is."""
    return x.mean((2, 3)) if x.ndim == 4 else x


def places(x: Tensor) -> Tensor:
    """A map (N, C, H, W) or a sequence (N, L, D) as (N, channels, places)."""
    return x.flatten(2) if x.ndim == 4 else x.transpose(1, 2)


def projectors(pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> nn.ModuleList:
    """For each pair what brings the student's feature to the teacher's width, always learned."""
    return nn.ModuleList(_projector(*read(pair, student, teacher)) for pair in pairs)


def connectors(pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> nn.ModuleList:
    """As `projectors`, but nothing where the widths agree already."""
    features = [read(pair, student, teacher) for pair in pairs]
    return nn.ModuleList(nn.Identity() if width(s) == width(t) else _projector(s, t) for s, t in features)


def width(x: Tensor) -> int:
    """Channels of a map, or the last dimension of anything else."""
    return x.shape[1] if x.ndim == 4 else x.shape[-1]


def refuse_unlike(type_: str, pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> None:
    """UserConfig for the first pair that `alike` cannot make comparable."""
    for at, pair in enumerate(pairs):
        s, t = student.features[pair.student], teacher.features[pair.teacher]
        ranks = {s.ndim, t.ndim}
        if not (ranks <= {2, 4} or _one_length(s, t)):
            refuse(type_, at, s, t, "choose two maps, two vectors, a map and a vector, or two sequences of one length")


def refuse_vectors(type_: str, pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> None:
    """UserConfig for the first pair that is not of two maps or of two sequences of one length."""
    for at, pair in enumerate(pairs):
        s, t = student.features[pair.student], teacher.features[pair.teacher]
        if not (s.ndim == t.ndim == 4 or _one_length(s, t)):
            refuse(type_, at, s, t, "choose two maps, or two sequences of one length")


def refuse_all_but_maps(type_: str, pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> None:
    """UserConfig for the first pair that is not of two maps."""
    for at, pair in enumerate(pairs):
        s, t = student.features[pair.student], teacher.features[pair.teacher]
        if not s.ndim == t.ndim == 4:
            refuse(type_, at, s, t, "choose two maps")


def refuse(type_: str, at: int, s: Tensor, t: Tensor, remedy: str) -> None:
    """UserConfig for the pair at this place of the list."""
    raise UserConfig.at(
        f"/taps/{at}",
        f"{type_} cannot compare features of shape {list(s.shape[1:])} with {list(t.shape[1:])}: {remedy}",
        code="taps_do_not_fit",
    )


def _projector(s: Tensor, t: Tensor) -> nn.Module:
    if s.ndim == 4:
        return nn.Conv2d(s.shape[1], t.shape[1], kernel_size=1)
    return nn.Linear(s.shape[-1], t.shape[-1])


def _one_length(s: Tensor, t: Tensor) -> bool:
    return s.ndim == t.ndim == 3 and s.shape[1] == t.shape[1]

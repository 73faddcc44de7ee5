"""Two features made comparable: the same places, and by a learned projector the same width.

Maps are (N, C, H, W), sequences (N, L, D), vectors (N, D). The larger of two maps is averaged down to the smaller; a
map that meets a vector is averaged over all of its places. Two sequences of one length are compared token by token.

A sequence that meets a map, or a sequence of another length, becomes a map itself: its tokens are the places row by
row, in the proportions of the map that it meets (of a square beside a sequence), and up to eight tokens that are left
over, which transformers put first (of the class, of distillation, registers), are left out. models.pairing.grid is the
rule. From there on it is a map like others, its channels the width of the tokens. Every loss that takes two maps takes
such a pair too; `hidden`, which is about tokens, takes the places of the map for tokens.

What cannot be compared is refused with a pointer to the pair of taps.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserConfig
from models.pairing import as_maps
from models.spec.losses.term import TapPair
from worker.engine.outputs import Outputs, full

_MAPS = "two maps (tokens may stand for one)"


def paired(taps: Sequence[TapPair] | str) -> list[TapPair]:
    """The pairs of a spec that the engine has been through: `auto` is gone by then."""
    assert not isinstance(taps, str), "the engine pairs the taps first"
    return list(taps)


def read(pair: TapPair, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """The two features of a pair as `alike` makes them, in float32 at least."""
    return alike(full(student.features[pair.student]), full(teacher.features[pair.teacher]))


def alike(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The two with the same places, so that only their widths differ."""
    if s.ndim == t.ndim == 3 and s.shape[1] == t.shape[1]:
        return s, t
    if sizes := _as_maps(s, t):
        s, t = _map(s, sizes[0]), _map(t, sizes[1])
    if s.ndim != t.ndim:
        return vector(s), vector(t)
    if s.ndim != 4 or s.shape[2:] == t.shape[2:]:
        return s, t
    size = (min(s.shape[2], t.shape[2]), min(s.shape[3], t.shape[3]))
    return F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)


def vector(x: Tensor) -> Tensor:
    """A map's mean over its places; anything else as it is."""
    return x.mean((2, 3)) if x.ndim == 4 else x


def tokens(x: Tensor) -> Tensor:
    """A map (N, C, H, W) as a sequence (N, places, C); anything else as it is."""
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x


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
        if not ({s.ndim, t.ndim} <= {2, 4} or _one_length(s, t) or _as_maps(s, t)):
            refuse(type_, at, s, t, f"choose two vectors, a map and a vector, {_MAPS} or two sequences of one length")


def refuse_vectors(type_: str, pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> None:
    """UserConfig for the first pair that is not of two maps or of two sequences of one length."""
    for at, pair in enumerate(pairs):
        s, t = student.features[pair.student], teacher.features[pair.teacher]
        if not (s.ndim == t.ndim == 4 or _one_length(s, t) or _as_maps(s, t)):
            refuse(type_, at, s, t, f"choose {_MAPS} or two sequences of one length")


def refuse_all_but_maps(type_: str, pairs: Sequence[TapPair], student: Outputs, teacher: Outputs) -> None:
    """UserConfig for the first pair that is not of two maps, or of tokens that make one."""
    for at, pair in enumerate(pairs):
        s, t = student.features[pair.student], teacher.features[pair.teacher]
        if not (s.ndim == t.ndim == 4 or (not _one_length(s, t) and _as_maps(s, t))):
            refuse(type_, at, s, t, f"choose {_MAPS}")


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


def _as_maps(s: Tensor, t: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Their sizes as maps, where one of them is a sequence at least and both can be one."""
    return as_maps(s.shape[1:], t.shape[1:]) if 3 in {s.ndim, t.ndim} else None


def _map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, D, H, W) of the last tokens; a map as it is."""
    if x.ndim == 4:
        return x
    places_NLD = x[:, x.shape[1] - size[0] * size[1] :]
    return places_NLD.transpose(1, 2).reshape(len(x), x.shape[2], *size)


def _one_length(s: Tensor, t: Tensor) -> bool:
    return s.ndim == t.ndim == 3 and s.shape[1] == t.shape[1]

"""Which points of a student match which of a teacher, where the user leaves it to us (`taps: "auto"`).

A student's stage takes the teacher's stage of the same resolution and, among those, of the most similar depth. Only
pairs that choose each other are kept, so a network with more stages leaves some of its own alone.
"""

from collections.abc import Mapping, Sequence
from math import inf, log2, prod

from models.spec.losses.term import TapPair

Shape = Sequence[int]

#: A map that meets a vector is averaged over its places: possible, but worse than any difference of resolution.
_OTHER_KIND = 100.0
#: Doubling both sides of a map weighs more than any difference of depth.
_RESOLUTION = 10.0


def pair(student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> list[TapPair]:
    """Pairs of stages, shallow to deep. The mappings give shapes without the batch, shallow to deep."""
    students, teachers = list(student), list(teacher)
    if not students or not teachers:
        return []
    cost = [
        [
            _cost(student[s], (i + 1) / len(students), teacher[t], (j + 1) / len(teachers))
            for j, t in enumerate(teachers)
        ]
        for i, s in enumerate(students)
    ]
    best_teacher = [min(range(len(teachers)), key=row.__getitem__) for row in cost]
    best_student = [min(range(len(students)), key=lambda i, j=j: cost[i][j]) for j in range(len(teachers))]  # type: ignore[misc]
    return [
        TapPair(student=students[i], teacher=teachers[j])
        for i, j in enumerate(best_teacher)
        if best_student[j] == i and cost[i][j] < inf
    ]


def last_of_each_shape(taps: Mapping[str, Shape]) -> dict[str, Shape]:
    """Of neighbours of one shape the last: the stages of a network that names every tensor and no stage."""
    names = list(taps)
    return {
        name: taps[name]
        for name, following in zip(names, [*names[1:], None], strict=True)
        if following is None or list(taps[following]) != list(taps[name])
    }


def _cost(s: Shape, depth_s: float, t: Shape, depth_t: float) -> float:
    if len(s) != len(t) and {len(s), len(t)} != {1, 3}:
        return inf
    if len(s) == len(t) == 2 and s[0] != t[0]:  # sequences of unlike length
        return inf
    kind = _OTHER_KIND if len(s) != len(t) else 0.0
    return kind + _RESOLUTION * abs(_places(s) - _places(t)) + abs(depth_s - depth_t)


def _places(shape: Shape) -> float:
    """The logarithm of how many places a map has."""
    return log2(prod(shape[1:])) if len(shape) == 3 else 0.0

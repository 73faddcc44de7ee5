"""Which points of a student match which of a teacher, where the user leaves it to us (`taps: "auto"`).

A student's stage takes the teacher's stage of the same resolution and, among those, of the most similar depth. Only
pairs that choose each other are kept, so a network with more stages leaves some of its own alone.

Shapes are without the batch: (C, H, W) a map, (D,) a vector, (L, D) a sequence. A transformer of images has as many
tokens at every depth: between its stages and a network of maps, or one of fewer tokens, depth decides and resolution
only where depths are alike.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from math import gcd, inf, isqrt, log2, prod

from models.spec.losses.term import TapPair

Shape = Sequence[int]

#: A map that meets a vector is averaged over its places: possible, but worse than any difference of resolution.
_OTHER_KIND = 100.0
#: Doubling both sides of a map weighs more than any difference of depth.
_RESOLUTION = 10.0
#: But where tokens are made a map, a quarter of the places is worth no more than a tenth of the depth.
_RESOLUTION_OF_TOKENS = 0.05
#: Tokens before those of the image: of the class, of distillation, registers.
_MOST_EXTRA = 8


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


def no_pair(student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> str:
    """What to say and what to do where `pair` has found nothing."""
    return (
        f"no stage of the student ({', '.join(student) or 'it has none'}) matches one of the teacher "
        f"({', '.join(teacher) or 'it has none'}): name the taps, or take a loss that needs none"
    )


def last_of_each_shape(taps: Mapping[str, Shape]) -> dict[str, Shape]:
    """Of neighbours of one shape the last: the stages of a network that names every tensor and no stage."""
    names = list(taps)
    return {
        name: taps[name]
        for name, following in zip_longest(names, names[1:])
        if following is None or list(taps[following]) != list(taps[name])
    }


def grid(num_tokens: int, like: tuple[int, int] = (1, 1)) -> tuple[int, int] | None:
    """Height and width of the map that a sequence is, of the same proportions as `like`; None where it is none.

    The largest map that leaves no more than eight tokens over, and fewer than it has places itself: 197 tokens are
    14 x 14 and one more, which comes first.
    """
    down, across = (side // gcd(*like) for side in like)
    for extra in range(_MOST_EXTRA + 1):
        scale = isqrt(max(num_tokens - extra, 0) // (down * across))
        if extra < down * across * scale**2 == num_tokens - extra:
            return down * scale, across * scale
    return None


def as_maps(s: Shape, t: Shape) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Heights and widths of two features of which one is a sequence at least; None where they are not both maps."""
    size_s = grid(s[0], (t[1], t[2]) if len(t) == 3 else (1, 1)) if len(s) == 2 else _size(s)
    size_t = grid(t[0], (s[1], s[2]) if len(s) == 3 else (1, 1)) if len(t) == 2 else _size(t)
    return (size_s, size_t) if size_s and size_t else None


def _size(shape: Shape) -> tuple[int, int] | None:
    return (shape[1], shape[2]) if len(shape) == 3 else None


def _cost(s: Shape, depth_s: float, t: Shape, depth_t: float) -> float:
    if 2 in {len(s), len(t)}:
        return _cost_of_tokens(s, t) + abs(depth_s - depth_t)
    if len(s) != len(t) and {len(s), len(t)} != {1, 3}:
        return inf
    kind = _OTHER_KIND if len(s) != len(t) else 0.0
    return kind + _RESOLUTION * abs(_places(s) - _places(t)) + abs(depth_s - depth_t)


def _cost_of_tokens(s: Shape, t: Shape) -> float:
    if len(s) == len(t) and s[0] == t[0]:
        return 0.0
    sizes = as_maps(s, t)
    return _RESOLUTION_OF_TOKENS * abs(log2(prod(sizes[0]) / prod(sizes[1]))) if sizes else inf


def _places(shape: Shape) -> float:
    """The logarithm of how many places a map has."""
    return log2(prod(shape[1:])) if len(shape) == 3 else 0.0

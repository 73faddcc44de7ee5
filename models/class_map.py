"""Which outputs of a teacher stand for which classes of a data set: one rule for the API and for the engine.

A teacher that does not name its classes has the places of its outputs for names: "0", "1" ...
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.spec.teaching import ClassMap

_NAMED = 40


@dataclass(frozen=True)
class Unfit:
    """Why a map cannot be followed; `entry` is the data set's class whose line is at fault, None for the map itself."""

    entry: str | None
    message: str


def unfit(wanted: ClassMap, names: Sequence[str], num_outputs: int, classes: Sequence[str]) -> Iterator[Unfit]:
    """What is wrong with a map of a teacher whose classes are `names` (empty where it does not say) onto `classes`.

    A regression has no `classes`.
    """
    if wanted == "same":
        return
    if not classes:
        yield Unfit(None, "a regression has no classes to map")
    elif isinstance(wanted, Mapping):
        yield from _unfit_lines(wanted, names or _places(num_outputs), classes)
    elif not names:
        message = "hand it in again with `classes`, or map them one by one, by the numbers of its outputs"
        yield Unfit(None, f"this teacher does not say how its classes are called: {message}")
    elif len(common := set(classes) & set(names)) < 2:
        message = (
            f"the teacher has {len(common)} of the data set's classes by name, and a comparison needs two: the data "
            f"set's are {_some(classes)}, the teacher's {_some(names)}"
        )
        yield Unfit(None, message)


def pairs(wanted: ClassMap, names: Sequence[str], num_outputs: int, classes: Sequence[str]) -> list[tuple[int, int]]:
    """(class of the data set, output of the teacher), by the data set's order, of a map that fits and is not `same`."""
    names = names or _places(num_outputs)
    both = wanted if isinstance(wanted, Mapping) else {name: name for name in classes if name in set(names)}
    our_place = {name: place for place, name in enumerate(classes)}
    their_place = {name: place for place, name in enumerate(names)}
    return sorted((our_place[ours], their_place[theirs]) for ours, theirs in both.items())


def _places(num_outputs: int) -> list[str]:
    return [str(place) for place in range(num_outputs)]


def _unfit_lines(wanted: Mapping[str, str], names: Sequence[str], classes: Sequence[str]) -> Iterator[Unfit]:
    taken: dict[str, str] = {}
    for ours, theirs in wanted.items():
        if ours not in classes:
            yield Unfit(ours, _unknown("data set", ours, classes))
        if theirs not in names:
            yield Unfit(ours, _unknown("teacher", theirs, names))
        if theirs in taken:
            message = (
                f"`{theirs}` of the teacher stands for both `{taken[theirs]}` and `{ours}`; one class is one output"
            )
            yield Unfit(ours, message)
        taken.setdefault(theirs, ours)


def _unknown(whose: str, given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    return f"the {whose} has no class `{given}`{hint}; it has {_some(known)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

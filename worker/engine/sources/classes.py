"""From the class map of a spec to columns: which outputs of a teacher stand for which classes of the data set."""

import difflib
from collections.abc import Mapping, Sequence

import torch

from core.errors import UserConfig
from models.canonical import DatasetMeta
from models.spec.teaching import ClassMap
from worker.engine.columns import SAME, Columns, columns

_NAMED = 40


def columns_of(
    wanted: ClassMap,
    names: Sequence[str],
    num_outputs: int,
    data: DatasetMeta,
    device: torch.device,
    pointer: str,
) -> Columns | None:
    """The columns of a teacher of `num_outputs`, whose classes are called `names` (empty where it does not say).

    None where it has as many classes as it likes and no map. Raises UserConfig that points below `pointer`, the
    teacher's place in the spec.
    """
    if wanted == "same":
        return SAME if num_outputs == data.num_outputs else None
    if not data.classes:
        raise UserConfig.at(f"{pointer}/classes", "a regression has no classes to map", code="class_map")
    if wanted == "by_name":
        pairs = _by_name(names, data, pointer)
    else:
        pairs = _by_hand(wanted, names or [str(place) for place in range(num_outputs)], data, pointer)
    ours, theirs = zip(*pairs, strict=True)
    if list(ours) == list(theirs) == list(range(data.num_outputs)) and num_outputs == data.num_outputs:
        return SAME
    return columns(ours, theirs, data.num_outputs, device)


def _by_name(names: Sequence[str], data: DatasetMeta, pointer: str) -> list[tuple[int, int]]:
    if not names:
        raise UserConfig.at(
            f"{pointer}/classes",
            "this teacher does not say how its classes are called: hand it in again with `classes`, or map them one by "
            "one",
            code="class_map",
        )
    place = {name: column for column, name in enumerate(names)}
    pairs = [(index, place[name]) for index, name in enumerate(data.classes) if name in place]
    if len(pairs) < 2:
        raise UserConfig.at(
            f"{pointer}/classes",
            f"the teacher has {len(pairs)} of the data set's classes by name, and a comparison needs two: the data "
            f"set's are {_some(data.classes)}, the teacher's {_some(names)}",
            code="class_map",
        )
    return pairs


def _by_hand(wanted: Mapping[str, str], names: Sequence[str], data: DatasetMeta, pointer: str) -> list[tuple[int, int]]:
    for ours, theirs in wanted.items():
        at = f"{pointer}/classes/{ours.replace('~', '~0').replace('/', '~1')}"
        _refuse_unknown(ours, data.classes, "data set", at)
        _refuse_unknown(theirs, names, "teacher", at)
    taken: dict[str, str] = {}
    for ours, theirs in wanted.items():
        if theirs in taken:
            raise UserConfig.at(
                f"{pointer}/classes",
                f"`{theirs}` of the teacher stands for both `{taken[theirs]}` and `{ours}`; one class is one output",
                code="class_map",
            )
        taken[theirs] = ours
    return sorted((data.classes.index(ours), names.index(theirs)) for ours, theirs in wanted.items())


def _refuse_unknown(name: str, known: Sequence[str], whose: str, pointer: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    raise UserConfig.at(pointer, f"the {whose} has no class `{name}`{hint}; it has {_some(known)}", code="class_map")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

"""Which classes of the data set a teacher speaks for, and class maps that cannot be followed.

The rules and the reasons are the engine's, which turns the same map into columns.
"""

from collections.abc import Iterator, Mapping, Sequence

from api.fitting.fault import Fault, Loc, listed, near
from models.canonical import DatasetMeta, OutputsMeta, TeacherMeta
from models.spec.teaching import ClassMap

Known = TeacherMeta | OutputsMeta


def spoken(wanted: ClassMap, teacher: Known, data: DatasetMeta) -> frozenset[int] | None:
    """The data set's classes, or values, that the outputs of the teacher stand for.

    None where they cannot be compared: it has others and no map, or the map has faults.
    """
    if wanted == "same":
        return frozenset(range(data.num_outputs)) if teacher.num_outputs == data.num_outputs else None
    if any(unfit_map(wanted, teacher, data, ())):
        return None
    ours = wanted if isinstance(wanted, Mapping) else set(data.classes) & set(teacher.classes)
    return frozenset(data.classes.index(name) for name in ours)


def unfit_map(wanted: ClassMap, teacher: Known, data: DatasetMeta, loc: Loc) -> Iterator[Fault]:
    """Why the map cannot be followed; `loc` is the teacher's place in the spec."""
    loc = (*loc, "classes")
    if wanted == "same":
        return
    if not data.classes:
        yield Fault(loc, "class_map", "A regression has no classes to map")
    elif isinstance(wanted, Mapping):
        yield from _unfit_names(wanted, teacher, data, loc)
    elif not teacher.classes:
        message = (
            "This teacher does not say how its classes are called: hand it in again with `classes`, or map them one by "
            "one, by the numbers of its outputs"
        )
        yield Fault(loc, "class_map", message)
    elif len(common := set(data.classes) & set(teacher.classes)) < 2:
        message = (
            f"The teacher has {len(common)} of the data set's classes by name, and a comparison needs two: the data "
            f"set's are {listed(data.classes)}, the teacher's {listed(teacher.classes)}"
        )
        yield Fault(loc, "class_map", message)


def _unfit_names(wanted: Mapping[str, str], teacher: Known, data: DatasetMeta, loc: Loc) -> Iterator[Fault]:
    theirs = teacher.classes or [str(place) for place in range(teacher.num_outputs)]
    taken: dict[str, str] = {}
    for our, their in wanted.items():
        yield from _unknown((*loc, our), our, data.classes, "data set")
        yield from _unknown((*loc, our), their, theirs, "teacher")
        if their in taken:
            message = f"`{their}` of the teacher stands for both `{taken[their]}` and `{our}`; one class is one output"
            yield Fault((*loc, our), "class_map", message)
        taken.setdefault(their, our)


def _unknown(loc: Loc, given: str, known: Sequence[str], whose: str) -> Iterator[Fault]:
    if given not in known:
        message = f"The {whose} has no class `{given}`{near(given, known)}; it has {listed(known)}"
        yield Fault(loc, "class_map", message)

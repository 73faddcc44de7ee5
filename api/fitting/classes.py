"""Which classes of the data set a teacher speaks for, and class maps that cannot be followed."""

from collections.abc import Iterator

from api.fitting.fault import Fault, Loc
from models import class_map
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
    pairs = class_map.pairs(wanted, teacher.classes, teacher.num_outputs, data.classes)
    return frozenset(ours for ours, _ in pairs)


def unfit_map(wanted: ClassMap, teacher: Known, data: DatasetMeta, loc: Loc) -> Iterator[Fault]:
    """Why the map cannot be followed; `loc` is the teacher's place in the spec."""
    for unfit in class_map.unfit(wanted, teacher.classes, teacher.num_outputs, data.classes):
        entry = () if unfit.entry is None else (unfit.entry,)
        yield Fault((*loc, "classes", *entry), "class_map", unfit.message[0].upper() + unfit.message[1:])

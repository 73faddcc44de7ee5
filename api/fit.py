"""Whether teacher, data, student and losses of a job fit each other: all that is knowable before it runs.

Pure functions of the spec and the two rows, so that no accelerator time is spent on what could have been refused.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from api import pairs
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.losses.term import LossTerm
from models.status import CheckStatus
from models.tables import Dataset, Teacher


@dataclass(frozen=True)
class Fault:
    """One thing that does not fit: `loc` is its path in the spec."""

    loc: tuple[int | str, ...]
    code: str
    message: str
    #: True where it passes by itself: the caller may ask again later.
    passing: bool = False


def faults(spec: JobSpec, teacher: Teacher | None, dataset: Dataset | None) -> list[Fault]:
    """All that does not fit, given the rows that the spec names (None where there is no such row)."""
    teacher_meta = TeacherMeta.model_validate(teacher.meta) if _is_ready(teacher) and teacher else None
    data = DatasetMeta.model_validate(dataset.meta) if _is_ready(dataset) and dataset else None
    found = [
        _standing(("teacher",), "teacher", spec.teacher.id, teacher),
        _standing(("dataset",), "dataset", spec.dataset, dataset),
    ]
    if data:
        found.append(chain(_losses_for_task(spec, data), _few_classes(spec, data), _too_many_rows(spec, data)))
        found.append(chain(_student_for_data(spec, data), _batches(spec, data)))
    if teacher_meta:
        found.append(_points(spec, teacher_meta))
    if data and teacher_meta:
        found.append(chain(_outputs(spec, teacher_meta, data), _input(teacher_meta, data)))
        found.append(_unpaired(spec, {spec.teacher.id: teacher_meta}, data))
    return list(chain.from_iterable(found))


def adapted(spec: JobSpec, dataset: Dataset) -> JobSpec:
    """The spec with a batch size that the user left open brought down to the number of rows there are."""
    data = DatasetMeta.model_validate(dataset.meta)
    if "batch_size" in spec.train.model_fields_set or spec.train.batch_size <= data.counts["train"]:
        return spec
    train = spec.train.model_copy(update={"batch_size": data.counts["train"]})
    return spec.model_copy(update={"train": train})


def _is_ready(row: Teacher | Dataset | None) -> bool:
    return row is not None and row.status == CheckStatus.READY


def _standing(loc: tuple[str], word: str, given: str, row: Teacher | Dataset | None) -> Iterator[Fault]:
    """Whether the row can be used at all."""
    if row is None:
        yield Fault(loc, f"unknown_{word}", f"There is no {word} `{given}`; GET /{word}s lists those there are")
    elif row.status == CheckStatus.CHECKING:
        message = f"`{given}` is still being checked; wait until GET /{word}s/{given} says `ready`"
        yield Fault(loc, "not_ready", message, passing=True)
    elif row.status == CheckStatus.REJECTED:
        failed = [line["detail"] for line in row.report.get("checks", []) if line.get("result") == "fail"]
        reason = f": {failed[0]}" if failed else ""
        yield Fault(loc, f"{word}_rejected", f"`{given}` was rejected{reason}. Its report says what to change")


def _losses_for_task(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    for index, term in enumerate(spec.loss):
        if data.task not in term.tasks:
            fitting = ", ".join(sorted(term.tasks))
            message = f"`{_type(term)}` is for {fitting}; the data set's task is {data.task}"
            yield Fault(("loss", index, "type"), "loss_not_for_task", message)


def _few_classes(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    for index, term in enumerate(spec.loss):
        least = term.least_classes()
        if data.num_outputs < least:
            message = (
                f"`{_type(term)}`, as it is set, needs at least {least} classes; the data set has {data.num_outputs}. "
                "Plain `kd` works with two"
            )
            yield Fault(("loss", index, "type"), "too_few_classes", message)


def _too_many_rows(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    """Terms that remember every training row."""
    rows = data.counts["train"]
    for index, term in enumerate(spec.loss):
        most = term.most_rows()
        if most is not None and rows > most:
            message = (
                f"`{_type(term)}`, as it is set, has memory for {most} training rows; the data set has {rows}. Choose "
                "a smaller `dim`, or a form without a bank"
            )
            yield Fault(("loss", index, "dim"), "bank_too_large", message)


def _type(entry: object) -> str:
    return str(getattr(entry, "type", ""))


def _student_for_data(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    if (kind := _kind(data)) not in spec.student.takes:
        message = (
            f"`{_type(spec.student)}` takes {' or '.join(sorted(spec.student.takes))} data; this data set is of kind "
            f"{kind}, of shape {list(data.input_shape)}. GET /catalog/students says what each takes"
        )
        yield Fault(("student", "type"), "student_not_for_data", message)


def _kind(data: DatasetMeta) -> str:
    return "image" if len(data.input_shape) == 3 else "table"


def _batches(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    rows, asked = data.counts["train"], spec.train.batch_size
    if asked > rows and "batch_size" in spec.train.model_fields_set:
        message = f"{asked} is more than the {rows} rows of the training split; set {rows} or less, or leave it out"
        yield Fault(("train", "batch_size"), "batch_too_large", message)


def _points(spec: JobSpec, teacher: TeacherMeta) -> Iterator[Fault]:
    """The feature points that terms read, in the teacher and in the student."""
    for index, term in enumerate(spec.loss):
        if term.needs_embedding and teacher.graph_input is not None and teacher.graph_embedding is None:
            message = f"`{_type(term)}` needs the input of the last linear layer, which was not found in this graph"
            yield Fault(("loss", index, "type"), "teacher_without_embedding", message)
        if term.needs_taps and not teacher.taps:
            message = f"`{_type(term)}` reads features, and this teacher offers no feature points"
            yield Fault(("loss", index, "type"), "teacher_without_taps", message)
        elif term.needs_taps:
            yield from _taps(spec, index, term, teacher)


def _taps(spec: JobSpec, index: int, term: LossTerm, teacher: TeacherMeta) -> Iterator[Fault]:
    pairs = getattr(term, "taps", "auto")
    if pairs == "auto":
        return
    offered, stages = [tap.name for tap in teacher.taps], spec.student.stage_names()
    is_graph = teacher.graph_input is not None
    for number, pair in enumerate(pairs):
        loc = ("loss", index, "taps", number)
        if pair.teacher not in offered and (is_graph or not _inside(pair.teacher, offered)):
            yield Fault((*loc, "teacher"), "unknown_tap", _no_such_point("teacher", pair.teacher, offered))
        if stages is not None and not _inside(pair.student, stages):
            yield Fault((*loc, "student"), "unknown_tap", _no_such_point("student", pair.student, stages))


def _inside(name: str, stages: Sequence[str]) -> bool:
    """Whether a module path is a stage or a module within one; the tensors of a graph have no such order."""
    return any(f"{name}.".startswith(f"{stage}.") for stage in stages)


def _no_such_point(whose: str, given: str, offered: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, offered, n=1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    more = f" and {len(offered) - 40} more" if len(offered) > 40 else ""
    return f"The {whose} has no point `{given}`{hint}; it has: {', '.join(offered[:40])}{more}"


def _unpaired(spec: JobSpec, teachers: Mapping[str, TeacherMeta], data: DatasetMeta) -> Iterator[Fault]:
    """Terms that leave the pairing to us, where there is no pair."""
    return (Fault(loc, "no_pair", sentence) for loc, sentence in pairs.unpaired(spec, teachers, data))


def _outputs(spec: JobSpec, teacher: TeacherMeta, data: DatasetMeta) -> Iterator[Fault]:
    """Terms that compare outputs need the data set's own, in its order."""
    comparing = [_type(term) for term in spec.loss if term.same_outputs]
    if not comparing:
        return
    named = ", ".join(f"`{name}`" for name in comparing)
    if teacher.num_outputs != data.num_outputs:
        message = (
            f"The teacher has {teacher.num_outputs} outputs and the data set {data.num_outputs} "
            f"{'classes' if data.classes else 'values'}, and {named} compares them one by one. Take a teacher of the "
            "same classes, or only losses that compare features or relations"
        )
        yield Fault(("teacher",), "class_count_differs", message)
    elif teacher.classes and data.classes and teacher.classes != data.classes:
        place, ours, theirs = next(
            (place, ours, theirs)
            for place, (theirs, ours) in enumerate(zip(teacher.classes, data.classes, strict=True))
            if theirs != ours
        )
        message = (
            f"Output {place} is class `{theirs}` for the teacher and `{ours}` in the data set, and {named} compares "
            "them one by one. Post the data set again with `classes` in the teacher's order"
        )
        yield Fault(("teacher",), "classes_differ", message)


def _input(teacher: TeacherMeta, data: DatasetMeta) -> Iterator[Fault]:
    """Whether the teacher can read the data."""
    wanted, given = _channels_first(teacher), data.input_shape
    if len(wanted) == len(given) == 3:
        given = (given[0], *(teacher.input.size or given[1:]))
    elif len(wanted) == 1 and len(given) == 3:
        # A perceptron reads an image as one row of pixels.
        height, width = teacher.input.size or given[1:]
        given = (given[0] * height * width,)
    if len(wanted) != len(given) or any(want not in (-1, have) for want, have in zip(wanted, given, strict=True)):
        words = {1: "rows of features", 3: "images of channels, height, width"}
        message = (
            f"The teacher reads {words.get(len(wanted), 'input of shape')} {_shape(wanted)} and the data set gives "
            f"{_shape(given)} ({_kind(data)}). Post the teacher with the `input` it needs, or the data set in its form"
        )
        yield Fault(("teacher",), "input_differs", message)


def _channels_first(teacher: TeacherMeta) -> tuple[int, ...]:
    shape = teacher.input_shape
    if len(shape) == 3 and teacher.graph_input is not None and teacher.input.layout == "NHWC":
        return (shape[2], shape[0], shape[1])
    return shape


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join("any" if size == -1 else str(size) for size in shape)

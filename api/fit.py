"""Whether teachers, data, students and losses of a job fit each other: all that is knowable before it runs.

Pure functions of the spec and the rows that it names, so that no accelerator time is spent on what could have been
refused. api/voices.py says who teaches and who listens; the files beside it each find one kind of fault.
"""

from collections.abc import Iterator, Mapping, Sequence

from api import pairs
from api.comparing import combining_faults, kind, least_seen, output_faults, teacher_faults
from api.faults import Fault, Loc
from api.points import point_faults
from api.standing import Rows, row_faults, samples, teachers_and_outputs
from api.voices import Lesson, lessons, voices
from models.canonical import DatasetMeta, OutputsMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.losses.term import LossTerm
from models.spec.training import Train
from models.tables import Dataset


def faults(spec: JobSpec, rows: Rows) -> list[Fault]:
    """All that does not fit, given the rows that the spec names, by id (None where there is no such row)."""
    data, known = samples(rows.get(spec.dataset)), teachers_and_outputs(spec, rows)
    taught = list(lessons(spec, known))
    found = list(row_faults(spec, rows))
    if data:
        found += _losses(spec, data)
        found += _with_data(spec, taught, data)
    for lesson in taught:
        found += point_faults(lesson)
    if data and known:
        handed_in = voices(spec, known)
        found += output_faults(taught, data)
        found += teacher_faults(handed_in, data)
        found += combining_faults(spec, handed_in, data)
    if data and len(known) == len(spec.teacher.teacher_ids() + spec.teacher.output_ids()):
        found += _unpaired(spec, known, data)
    return list(dict.fromkeys(found))


def adapted(spec: JobSpec, dataset: Dataset) -> JobSpec:
    """The spec with batch sizes that the user left open brought down to the number of rows there are."""
    rows = DatasetMeta.model_validate(dataset.meta).counts["train"]
    assistants = [
        each.model_copy(update={"train": _within(each.train, rows)}) if each.train else each for each in spec.assistants
    ]
    return spec.model_copy(update={"train": _within(spec.train, rows), "assistants": assistants})


def _within(train: Train, rows: int) -> Train:
    if "batch_size" in train.model_fields_set or train.batch_size <= rows:
        return train
    return train.model_copy(update={"batch_size": rows})


def _losses(spec: JobSpec, data: DatasetMeta) -> Iterator[Fault]:
    """What terms ask of the data, whoever teaches."""
    own = [(("assistants", at, "loss"), each.loss) for at, each in enumerate(spec.assistants) if each.loss]
    written: list[tuple[Loc, Sequence[LossTerm]]] = [(("loss",), spec.loss), *own]
    for loc, terms in written:
        for number, term in enumerate(terms):
            yield from _term(term, (*loc, number), data)
    needs_teacher = not spec.teacher.handed_in and not spec.teacher.teacher_ids()
    if needs_teacher and not data.num_labelled("train"):
        message = (
            "no training row has a label, and the students of this job could not learn from each other alone: name a "
            "teacher that was handed in"
        )
        yield Fault(("teacher",), "needs_labels", message)


def _term(term: LossTerm, loc: Loc, data: DatasetMeta) -> Iterator[Fault]:
    if data.task not in term.tasks:
        fitting = ", ".join(sorted(term.tasks))
        message = f"`{_type(term)}` is for {fitting}; the data set's task is {data.task}"
        yield Fault((*loc, "type"), "loss_not_for_task", message)
    rows, most = data.counts["train"], term.most_rows()
    if most is not None and rows > most:
        message = (
            f"`{_type(term)}`, as it is set, has memory for {most} training rows; the data set has {rows}. Choose "
            "a smaller `dim`, or a form without a bank"
        )
        yield Fault((*loc, "dim"), "bank_too_large", message)
    if term.needs_labels and not data.all_labelled("train"):
        message = (
            f"`{_type(term)}` reads labels, and {rows - data.num_labelled('train')} of {rows} training rows have none: "
            "take a loss that compares outputs alone, such as `kd`"
        )
        yield Fault((*loc, "type"), "needs_labels", message)


def _with_data(spec: JobSpec, taught: Sequence[Lesson], data: DatasetMeta) -> Iterator[Fault]:
    """What students, their terms and their training ask of the data."""
    for lesson in taught:
        yield from _student(lesson, data)
        yield from _few_classes(lesson, data)
    yield from _batches(("train",), spec.train, data)
    for at, assistant in enumerate(spec.assistants):
        if assistant.train:
            yield from _batches(("assistants", at, "train"), assistant.train, data)


def _student(lesson: Lesson, data: DatasetMeta) -> Iterator[Fault]:
    takes = lesson.student.takes
    if kind(data) not in takes:
        message = (
            f"`{_type(lesson.student)}` takes {' or '.join(sorted(takes))} data; this data set is of kind "
            f"{kind(data)}, of shape {list(data.input_shape)}. GET /catalog/students says what each takes"
        )
        yield Fault((*lesson.student_loc, "type"), "student_not_for_data", message)


def _few_classes(lesson: Lesson, data: DatasetMeta) -> Iterator[Fault]:
    for number, (term, heard) in enumerate(zip(lesson.terms, lesson.heard, strict=True)):
        seen, least = least_seen(term, heard, data), term.least_classes()
        if seen < least:
            owner = "data set" if seen == data.num_outputs else "map of the teacher's classes"
            message = (
                f"`{_type(term)}`, as it is set, needs at least {least} classes; the {owner} has {seen}. "
                "Plain `kd` works with two"
            )
            yield Fault((*lesson.loss_loc, number, "type"), "too_few_classes", message)


def _batches(loc: Loc, train: Train, data: DatasetMeta) -> Iterator[Fault]:
    rows, asked = data.counts["train"], train.batch_size
    if asked > rows and "batch_size" in train.model_fields_set:
        message = f"{asked} is more than the {rows} rows of the training split; set {rows} or less, or leave it out"
        yield Fault((*loc, "batch_size"), "batch_too_large", message)


def _unpaired(spec: JobSpec, known: Mapping[str, TeacherMeta | OutputsMeta], data: DatasetMeta) -> Iterator[Fault]:
    """Terms that leave the pairing to us, where there is no pair."""
    teachers = {name: meta for name, meta in known.items() if isinstance(meta, TeacherMeta)}
    return (Fault(loc, "no_pair", sentence) for loc, sentence in pairs.unpaired(spec, teachers, data))


def _type(entry: object) -> str:
    return str(getattr(entry, "type", ""))

"""What a job computes: how much work each group of its lessons is.

Counted from the plan that the engine follows (models.lessons), without building a network; a backward pass is two
forward passes. Work is told in operations, see models.walk.Cost.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from models.canonical import DatasetMeta, TeacherMeta
from models.counting import cost_of
from models.lessons import Earlier, Itself, Lesson, Outside, Syllabus, syllabus
from models.spec.job import JobSpec
from models.spec.students import Student
from models.spec.teaching import MovingAverage, Snapshot
from models.spec.training import Train

#: Of training, in forward passes: forward, and backward for input and weights.
_PASSES = 3
#: Bytes a parameter while it is trained: itself, its gradient, two moments.
_TRAINED_BYTES = 16
#: Bytes a number that the backward pass needs again: its layer's input and output, with what the allocator leaves.
_ACTIVE_BYTES = 8
#: Work of a network whose operations alone are known, by these: between 1.6 and 3 for residual networks.
_USUAL = 2
#: The least side of images that are cropped where nothing is said.
_CROPPED = 28


@dataclass(frozen=True, slots=True)
class GroupWork:
    """What lessons that are held together take, on the same batches."""

    steps: int
    #: Of all its steps; None where the operations of a network are not known.
    work: float | None


@dataclass(frozen=True, slots=True)
class Workload:
    """All groups of a job in their order. Equal keys take equally long for equal work."""

    key: str
    #: The type of the student.
    family: str
    #: As the spec wishes it.
    precision: str
    groups: tuple[GroupWork, ...]
    #: Of the training split.
    num_rows: int
    #: Bytes for data, networks and activations, roughly; None where a network's are not known.
    held_bytes: int | None
    #: The share of the training after which it may stop early.
    least: float
    #: Operations of the networks that are trained, by `network_key`; None where they are not known.
    networks: Mapping[str, int | None]
    #: Architectures whose operations are not known, in words.
    unknown: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Of all groups."""
        return sum(group.steps for group in self.groups)

    @property
    def work(self) -> float | None:
        """Of all groups."""
        counts = [group.work for group in self.groups]
        return None if None in counts else sum(count or 0.0 for count in counts)

    def left(self, done: float) -> tuple[GroupWork, ...]:
        """What is left of each group once that share of all steps is done."""
        over, rest = round(done * self.steps), []
        for group in self.groups:
            steps = group.steps - min(over, group.steps)
            over -= group.steps - steps
            if steps:
                rest.append(GroupWork(steps, None if group.work is None else group.work * steps / group.steps))
        return tuple(rest)


class Counter:
    """Counts for one job; `known` are operations of networks that were built somewhere, by `network_key`."""

    def __init__(
        self, plan: Syllabus, data: DatasetMeta, teachers: Sequence[TeacherMeta], known: Mapping[str, int]
    ) -> None:
        self._plan, self._data, self._teachers, self._known = plan, data, teachers, known
        self._students = {lesson.name: lesson.student for lesson in plan.lessons}

    def flops(self, student: Student) -> int | None:
        """Operations of a forward pass on one row."""
        counted = cost_of(student, self._data.input_shape, self._data.num_outputs)
        return counted.flops if counted else self._known.get(network_key(student, self._data.input_shape))

    def _work(self, student: Student) -> int | None:
        counted = cost_of(student, self._data.input_shape, self._data.num_outputs)
        return counted.work if counted else _usual(self.flops(student))

    def group(self, lessons: Sequence[Lesson], epochs: Mapping[str, int]) -> GroupWork:
        """`epochs` are those that were trained, by lesson, where they are not those of the spec."""
        train, rows = lessons[0].train, self._data.counts["train"]
        first = epochs.get(lessons[0].name, train.epochs)
        steps = -(-rows // (train.batch_size * train.accumulate)) * first
        counts = [self._lesson(lesson, epochs.get(lesson.name, first)) for lesson in lessons]
        return GroupWork(steps, None if None in counts else sum(count or 0.0 for count in counts))

    def held_bytes(self) -> int | None:
        """Of the data, the teachers, and the largest group."""
        sizes = [self._held(group) for group in self._plan.groups]
        if any(size is None for size in sizes):
            return None
        shape, num_rows = self._data.input_shape, sum(self._data.counts.values())
        # Pixels are bytes; features and tokens, of which a text (vocabulary, tokens) has the latter, are wider.
        rows = num_rows * (prod(shape) if len(shape) == 3 else 4 * shape[-1])
        return rows + sum(4 * teacher.parameters for teacher in self._teachers) + max(size or 0 for size in sizes)

    def _lesson(self, lesson: Lesson, epochs: int) -> float | None:
        """Training on all rows, validation after each epoch, and who teaches."""
        own, taught = self._work(lesson.student), self._teaching(lesson)
        if own is None or taught is None:
            return None
        counts = self._data.counts
        asked = _asked(lesson, self._data, epochs)
        return float(
            epochs * (_PASSES * counts["train"] + counts.get("val", 0)) * own + asked * counts["train"] * taught
        )

    def _teaching(self, lesson: Lesson) -> int | None:
        """Work of who teaches, on one row; none where that is the labels, or networks that are trained anyway."""
        match lesson.guide:
            case Outside():
                counts = [_work_of_teacher(teacher) for teacher in self._teachers]
                return None if None in counts else sum(count or 0 for count in counts)
            case Earlier(lesson=name):
                return self._work(self._students[name])
            case Itself(way=Snapshot() | MovingAverage()):
                return self._work(lesson.student)
            case _:
                return 0

    def _held(self, group: Sequence[Lesson]) -> int | None:
        sizes = []
        for lesson in group:
            cost = cost_of(lesson.student, self._data.input_shape, self._data.num_outputs)
            if cost is None:
                return None
            sizes.append(_TRAINED_BYTES * cost.parameters + _ACTIVE_BYTES * lesson.train.batch_size * cost.activations)
        return sum(sizes)


def workload(
    spec: JobSpec,
    data: DatasetMeta,
    teachers: Sequence[TeacherMeta],
    *,
    known: Mapping[str, int] | None = None,
    epochs: Mapping[str, int] | None = None,
) -> Workload:
    """The work of a resolved spec."""
    plan = syllabus(spec, has_labels=data.num_labelled("train") > 0)
    counter = Counter(plan, data, teachers, known or {})
    trained = [lesson.student for lesson in plan.lessons]
    networks = {network_key(student, data.input_shape): counter.flops(student) for student in trained}
    return Workload(
        key=_key(spec, data, teachers),
        family=spec.student.type,
        precision=str(spec.train.precision if isinstance(spec.train.precision, str) else spec.train.precision.name),
        groups=tuple(counter.group(group, epochs or {}) for group in plan.groups),
        num_rows=data.counts["train"],
        held_bytes=counter.held_bytes(),
        least=_least(spec.train),
        networks=networks,
        unknown=tuple(_unknown(trained, teachers, counter)),
    )


def network_key(student: Student, in_shape: Sequence[int]) -> str:
    """Equal for networks of equal operations, but for those of the last layer."""
    return _hash({"student": student.model_dump(mode="json"), "input": list(in_shape)})


def _work_of_teacher(teacher: TeacherMeta) -> int | None:
    """A graph of any make shows its operations alone."""
    counted = cost_of(teacher.architecture, teacher.input_shape, teacher.num_outputs)
    return counted.work if counted else _usual(teacher.flops)


def _usual(flops: int | None) -> int | None:
    return None if flops is None else _USUAL * flops


def _asked(lesson: Lesson, data: DatasetMeta, epochs: int) -> int:
    """How often who teaches is asked about each row: once where neither of them changes."""
    train = lesson.train
    if isinstance(lesson.guide, Itself) or train.mixup is not None:
        return epochs
    if not changes_samples(train, data):
        return 1
    return min(epochs, train.views or epochs)


def changes_samples(train: Train, data: DatasetMeta) -> bool:
    """Whether samples are shown changed."""
    is_image = data.task == "image_classification" and len(data.input_shape) == 3
    cropped = train.augment == "auto" and is_image and min(data.input_shape[1:]) >= _CROPPED
    return train.asks_for_changes or cropped


def _least(train: Train) -> float:
    stops = train.early_stopping
    return 1.0 if stops is None else min(1.0, (stops.patience + 1) / train.epochs)


def _unknown(trained: Sequence[Student], teachers: Sequence[TeacherMeta], counter: Counter) -> Iterator[str]:
    for student in dict.fromkeys(student.type for student in trained if counter.flops(student) is None):
        yield f"the student `{student}`"
    for teacher in teachers:
        if _work_of_teacher(teacher) is None:
            yield f"the teacher `{teacher.architecture.type}`"


_DECIDES = {"batch_size", "accumulate", "precision", "augment", "mixup", "teacher_cache", "ema"}


def _key(spec: JobSpec, data: DatasetMeta, teachers: Sequence[TeacherMeta]) -> str:
    """Of all that decides the time of a step; rows and epochs do not."""
    return _hash(
        {
            **spec.model_dump(mode="json", include={"student", "loss", "hard"}),
            "assistants": [
                {**each.model_dump(mode="json", exclude={"train"}), **_training(each.train or spec.train)}
                for each in spec.assistants
            ],
            **data.model_dump(mode="json", include={"task", "input_shape", "num_outputs"}),
            "teaching": spec.teacher.model_dump(mode="json", exclude={"id", "teachers", "teacher", "dataset"}),
            "teachers": [[each.architecture.model_dump(mode="json"), each.flops, each.parameters] for each in teachers],
            "train": {**_training(spec.train), "control": spec.train.control},
        }
    )


def _training(train: Train) -> dict[str, Any]:
    return {**train.model_dump(mode="json", include=_DECIDES), "optimizer": train.optimizer.type}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

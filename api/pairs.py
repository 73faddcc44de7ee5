"""Which points of the student each feature loss of a job will compare with which of the teacher, told without torch.

The rule is the engine's own (models.pairing); shapes come from the menu and from what the check of the teacher saw.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from models.canonical import DatasetMeta, TeacherMeta
from models.pairing import Shape, last_of_each_shape, no_pair, pair
from models.spec.job import JobSpec
from models.spec.losses.term import LossTerm, TapPair
from models.spec.students import Student
from models.spec.teaching import BornAgain, Ensemble, MovingAverage, Snapshot, StoredTeacher


@dataclass(frozen=True)
class Points:
    """What is known of a network's points for some data. `stages` None: only the built network can say."""

    stages: Mapping[str, Shape] | None
    #: Shapes of further points, such as modules within a stage.
    others: Mapping[str, Shape] = field(default_factory=dict)

    def shape(self, name: str) -> list[int] | None:
        """Of one point, without the batch."""
        found = (self.stages or {}).get(name) or self.others.get(name)
        return None if found is None else list(found)


@dataclass(frozen=True)
class Paired:
    """A term that reads features. `pairs` None: they are made at the start of the job."""

    pointer: str
    #: Where the field `taps` of the term is in the spec.
    loc: tuple[int | str, ...]
    student: Points
    teacher: Points
    pairs: list[TapPair] | None


def paired(spec: JobSpec, teachers: Mapping[str, TeacherMeta], data: DatasetMeta) -> Iterator[Paired]:
    """Every term of the job that reads features, assistants' first. `teachers` holds those that can be read, by id."""
    before: Points | None = None
    for at, assistant in enumerate(spec.assistants):
        ours, root = _of_student(assistant.student, data), ("assistants", at)
        terms = assistant.loss or spec.loss
        for number, term in _reading_features(terms):
            heard = before or _heard(term, spec, teachers, data)
            loc = (*(root if assistant.loss else ()), "loss", number, "taps")
            yield _pair(term, f"/assistants/{at}/loss/{number}", loc, ours, heard)
        before = ours
    for number, term in _reading_features(spec.loss):
        heard = before or _heard(term, spec, teachers, data)
        yield _pair(term, f"/loss/{number}", ("loss", number, "taps"), _of_student(spec.student, data), heard)


def unpaired(
    spec: JobSpec, teachers: Mapping[str, TeacherMeta], data: DatasetMeta
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """For each term of which `auto` would find no pair: where it is in the spec, and the engine's sentence."""
    for each in paired(spec, teachers, data):
        if each.pairs == []:
            assert each.student.stages is not None, "it was paired"
            assert each.teacher.stages is not None, "it was paired"
            yield each.loc, no_pair(each.student.stages, each.teacher.stages)


def _reading_features(terms: Sequence[LossTerm]) -> Iterator[tuple[int, LossTerm]]:
    return ((number, term) for number, term in enumerate(terms) if term.needs_taps)


def _pair(term: LossTerm, pointer: str, loc: tuple[int | str, ...], student: Points, teacher: Points) -> Paired:
    taps: str | list[TapPair] = getattr(term, "taps", "auto")
    if not isinstance(taps, str):
        return Paired(pointer, loc, student, teacher, list(taps))
    known = student.stages is not None and teacher.stages is not None
    return Paired(pointer, loc, student, teacher, pair(student.stages or {}, teacher.stages or {}) if known else None)


def _heard(term: LossTerm, spec: JobSpec, teachers: Mapping[str, TeacherMeta], data: DatasetMeta) -> Points:
    """The points of whom the term listens to; of generations, of the first one's teacher."""
    match spec.teacher:
        case StoredTeacher(id=name) | BornAgain(teacher=StoredTeacher(id=name)):
            return _of_teacher(teachers.get(name), data)
        case Ensemble():
            return _of_teacher(teachers.get(term.teacher or ""), data)
        case BornAgain() | Snapshot() | MovingAverage():
            return _of_student(spec.student, data)
    return Points(None)


def _of_student(student: Student, data: DatasetMeta) -> Points:
    return Points(student.stage_shapes(data.input_shape))


def _of_teacher(teacher: TeacherMeta | None, data: DatasetMeta) -> Points:
    if teacher is None or not teacher.taps:
        return Points(None)
    # Taps were seen with an input of this shape; where any fits, the job's may be another.
    seen = {} if -1 in teacher.input_shape else {tap.name: tuple(tap.shape) for tap in teacher.taps}
    if not isinstance(teacher.architecture, Student):
        return Points(last_of_each_shape(seen) or None, seen)
    return Points(teacher.architecture.stage_shapes(_given(teacher, data.input_shape)), seen)


def _given(teacher: TeacherMeta, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What the teacher gets of data of this shape, channels first."""
    return (shape[0], *(teacher.input.size or shape[1:])) if len(shape) == 3 else shape

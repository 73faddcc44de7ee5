"""A job as its parts: who was handed in to teach, who learns, and which of them each student listens to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.fitting.fault import Loc
from models.spec.job import JobSpec
from models.spec.losses.term import LossTerm
from models.spec.students import Student
from models.spec.teaching import (
    BornAgain,
    Branches,
    Ensemble,
    GivenOutputs,
    MovingAverage,
    Peers,
    Snapshot,
    StoredTeacher,
    key_of,
)
from models.spec.training import Train


@dataclass(frozen=True)
class Member:
    """A teacher that was handed in, alone or among others."""

    spec: StoredTeacher | GivenOutputs
    loc: Loc

    @property
    def key(self) -> str:
        """The id by which a term names it."""
        return key_of(self.spec)

    @property
    def id_loc(self) -> Loc:
        """Where its id is."""
        return (*self.loc, "id" if isinstance(self.spec, StoredTeacher) else "dataset")


@dataclass(frozen=True)
class Part:
    """A student of the job, and what it learns by."""

    student: Student
    student_loc: Loc
    terms: Sequence[LossTerm]
    loss_loc: Loc
    train: Train
    train_loc: Loc
    #: Whether it listens to the teachers that were handed in.
    outside: bool
    #: The architectures of the job's own networks that it listens to.
    networks: tuple[Student, ...] = ()

    def heard(self, term: LossTerm, members: Sequence[Member]) -> list[Member]:
        """Those of the teachers that were handed in that the term listens to."""
        return [member for member in members if self.outside and term.teacher in (None, member.key)]


def members(spec: JobSpec) -> list[Member]:
    """All teachers that were handed in."""
    match spec.teacher:
        case Ensemble(teachers=teachers):
            return [Member(member, ("teacher", "teachers", at)) for at, member in enumerate(teachers)]
        case BornAgain(teacher=StoredTeacher() as first):
            return [Member(first, ("teacher", "teacher"))]
        case (StoredTeacher() | GivenOutputs()) as alone:
            return [Member(alone, ("teacher",))]
        case _:
            return []


def parts(spec: JobSpec) -> list[Part]:
    """All students of the job but the control, which no loss concerns."""
    match spec.teacher:
        case Peers(students=peers):
            return list(_peers(spec, peers))
        case BornAgain(generations=generations, teacher=first):
            earlier = (spec.student,) if generations > 1 else ()
            return [_of_student(spec, outside=first is not None, networks=earlier)]
        case Snapshot() | MovingAverage():
            return [_of_student(spec, outside=False, networks=(spec.student,))]
        case Branches():
            return [_of_student(spec, outside=False)]
        case _:
            return list(_chain(spec))


def _peers(spec: JobSpec, peers: Sequence[Student]) -> Iterator[Part]:
    everyone: list[tuple[Student, Loc]] = [(spec.student, ("student",))]
    everyone += [(peer, ("teacher", "students", at)) for at, peer in enumerate(peers)]
    for student, loc in everyone:
        others = tuple(other for other, other_loc in everyone if other_loc != loc)
        yield Part(student, loc, spec.loss, ("loss",), spec.train, ("train",), outside=False, networks=others)


def _chain(spec: JobSpec) -> Iterator[Part]:
    """From the teacher over its assistants to the student."""
    before: tuple[Student, ...] = ()
    for at, assistant in enumerate(spec.assistants):
        root = ("assistants", at)
        terms, loss_loc = (assistant.loss, (*root, "loss")) if assistant.loss else (spec.loss, ("loss",))
        train, train_loc = (assistant.train, (*root, "train")) if assistant.train else (spec.train, ("train",))
        student_loc = (*root, "student")
        yield Part(assistant.student, student_loc, terms, loss_loc, train, train_loc, not before, before)
        before = (assistant.student,)
    yield _of_student(spec, outside=not before, networks=before)


def _of_student(spec: JobSpec, *, outside: bool, networks: tuple[Student, ...] = ()) -> Part:
    return Part(spec.student, ("student",), spec.loss, ("loss",), spec.train, ("train",), outside, networks)

"""Who is trained in a job, in which order, and taught by whom: the plan that attempts follow and estimates count.

A lesson is one network's training. Lessons of one group are held together, on the same batches; group follows group.
The plan is a pure function of the spec, so that a resumed job finds its place in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.seeds import derive
from models.spec.job import JobSpec
from models.spec.losses.term import LossTerm
from models.spec.students import Student
from models.spec.teaching import BornAgain, Branches, MovingAverage, Peers, Snapshot
from models.spec.training import Train

STUDENT, CONTROL = "student", "control"


@dataclass(frozen=True)
class ByLabels:
    """Nobody teaches; the labels do."""


@dataclass(frozen=True)
class Outside:
    """The teacher that was handed in."""


@dataclass(frozen=True)
class Earlier:
    """The network of a lesson before, as it was selected."""

    lesson: str


@dataclass(frozen=True)
class Beside:
    """The other networks of the group."""


@dataclass(frozen=True)
class Itself:
    """The network in training, in one way or another."""

    way: Snapshot | MovingAverage | Branches


Guide = ByLabels | Outside | Earlier | Beside | Itself


@dataclass(frozen=True)
class Lesson:
    """One network's training. `seed` is that of its start; the order of the samples comes from `train`."""

    name: str
    student: Student
    train: Train
    seed: int
    guide: Guide
    terms: Sequence[LossTerm] = ()
    hard: float = 1.0
    #: Where its fields are in the spec, for those that are not at /student, /loss, /hard and /train.
    pointers: dict[str, str] = field(default_factory=dict)

    @property
    def has_exits(self) -> bool:
        """Whether the network teaches its own stages."""
        return isinstance(self.guide, Itself) and isinstance(self.guide.way, Branches)

    @property
    def needs_labels(self) -> bool:
        """Whether nobody in it knows more than the labels say."""
        return not isinstance(self.guide, Outside | Earlier)

    def pointer(self, own: str) -> str:
        """The place in the spec of what is at `own` for the job's student."""
        if not own:
            return own
        _, first, *rest = own.split("/", 2)
        return "/".join([self.pointers.get(f"/{first}", f"/{first}"), *rest])


Group = list[Lesson]


@dataclass(frozen=True)
class Syllabus:
    """All lessons of a job."""

    groups: list[Group]
    #: The lesson that shows what the student is without a teacher; None where none does.
    control: str | None

    @property
    def lessons(self) -> list[Lesson]:
        """In the order in which they begin."""
        return [lesson for group in self.groups for lesson in group]

    @property
    def stages(self) -> list[str]:
        """Students that are handed out beside the job's own: assistants, generations, peers."""
        return [lesson.name for lesson in self.lessons if lesson.name not in {STUDENT, CONTROL}]


def syllabus(spec: JobSpec, *, has_labels: bool = True) -> Syllabus:
    """The lessons of a job; the spec need not be resolved. Without labels there is nothing to train a control by."""
    spec = spec.resolved()
    groups = _taught(spec)
    control = next((lesson.name for group in groups for lesson in group if lesson.guide == ByLabels()), None)
    if control is None and spec.train.control and has_labels:
        groups.append([_lesson(spec, CONTROL, ByLabels(), terms=(), hard=1.0)])
        control = CONTROL
    return Syllabus(groups, control)


def _taught(spec: JobSpec) -> list[Group]:
    match spec.teacher:
        case BornAgain():
            return _generations(spec, spec.teacher)
        case Peers():
            return [_peers(spec, spec.teacher)]
        case Snapshot() | MovingAverage() | Branches():
            return [[_lesson(spec, STUDENT, Itself(spec.teacher))]]
        case _:
            return _chain(spec)


def _chain(spec: JobSpec) -> list[Group]:
    """From the teacher over its assistants to the student."""
    lessons: list[Lesson] = []
    before: Guide = Outside()
    for at, assistant in enumerate(spec.assistants):
        name = f"assistant_{at + 1}"
        assert assistant.loss is not None, "resolved"
        assert assistant.train is not None, "resolved"
        assert assistant.hard is not None, "resolved"
        pointers = {f"/{own}": f"/assistants/{at}/{own}" for own in ("student", "loss", "hard", "train")}
        train, seed = _apart(assistant.train, name)
        lessons.append(Lesson(name, assistant.student, train, seed, before, assistant.loss, assistant.hard, pointers))
        before = Earlier(name)
    return [[lesson] for lesson in [*lessons, _lesson(spec, STUDENT, before)]]


def _generations(spec: JobSpec, regime: BornAgain) -> list[Group]:
    lessons: list[Lesson] = []
    before: Guide = Outside() if regime.teacher else ByLabels()
    for at in range(1, regime.generations):
        name = f"generation_{at}"
        train, seed = _apart(spec.train, name)
        bare: dict[str, Any] = {"terms": (), "hard": 1.0} if before == ByLabels() else {}
        lessons.append(_lesson(spec, name, before, train=train, seed=seed, **bare))
        before = Earlier(name)
    return [[lesson] for lesson in [*lessons, _lesson(spec, STUDENT, before)]]


def _peers(spec: JobSpec, regime: Peers) -> Group:
    """The student first; all see the same batches, and the student says when to stop early."""
    group = [_lesson(spec, STUDENT, Beside())]
    followers = spec.train.model_copy(update={"early_stopping": None})
    for at, peer in enumerate(regime.students):
        name = f"peer_{at + 1}"
        _, seed = _apart(spec.train, name)
        pointers = {"/student": f"/teacher/students/{at}"}
        group.append(_lesson(spec, name, Beside(), student=peer, train=followers, seed=seed, pointers=pointers))
    return group


def _lesson(spec: JobSpec, name: str, guide: Guide, **other: Any) -> Lesson:
    """That of the job's student, but for what is said otherwise."""
    own = {"student": spec.student, "train": spec.train, "seed": spec.train.seed, "terms": spec.loss, "hard": spec.hard}
    return Lesson(name=name, guide=guide, **{**own, **other})


def _apart(train: Train, name: str) -> tuple[Train, int]:
    """The training with chance of its own, so that no network repeats another's."""
    seed = derive(train.seed, "lesson", name)
    return train.model_copy(update={"seed": seed}), seed

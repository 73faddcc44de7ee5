"""From an order and its files to parts that fit each other: data, task, teacher, students, losses.

Everything that can be found wrong before the first step is found here, on a dry batch of a few rows.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.errors import UserConfig
from models import pairing
from models.lessons import STUDENT, Beside, Earlier, Group, Itself, Lesson, Outside, Syllabus, syllabus
from models.seeds import derive
from models.spec.losses.term import LossTerm
from models.spec.precision import NumberFormat
from models.spec.teaching import BornAgain, Ensemble, GivenOutputs, StoredTeacher
from models.work import WorkOrder
from worker.engine import data, objective
from worker.engine.choosing import Candidate, Choosing
from worker.engine.cut import cut_of
from worker.engine.learner import Plan
from worker.engine.networks import Network, build_network, evaluating
from worker.engine.normalise import View
from worker.engine.precision import Precision
from worker.engine.sources.dry import first_answer
from worker.engine.sources.listen import heard_by, lenses, refuse, refuse_without_labels
from worker.engine.sources.open import open_source
from worker.engine.sources.source import Place, Says, Source
from worker.engine.taps import Tapped, modules_by_path
from worker.engine.task import Task, make_task
from worker.engine.transcripts import Transcripts
from worker.engine.wired import Bench, Heard, Wired, pointing

_DRY_ROWS = 4
#: How those are called who teach and have no lesson of their own.
TEACHER, ITSELF = "teacher", "itself"


@dataclass
class Parts:
    """What a job is made of, before it is trained."""

    order: WorkOrder
    device: torch.device
    splits: dict[str, data.Split]
    #: The task as the job's student is trained for it.
    task: Task
    view: View
    #: The teacher that was handed in, and the same at work; None where the job's students teach each other.
    handed_in: tuple[Source, Says] | None
    syllabus: Syllabus
    #: What those who were handed in say of whole splits.
    transcripts: Transcripts
    #: By name, in the order in which they begin.
    lessons: dict[str, Wired]
    #: How each network computes, and why.
    choosing: Choosing

    @property
    def source(self) -> Source:
        """The teacher that was handed in, where one was."""
        assert self.handed_in is not None, "a teacher was handed in"
        return self.handed_in[0]

    @property
    def teacher(self) -> Says:
        """The same at work, in the lesson that it gives."""
        assert self.handed_in is not None, "a teacher was handed in"
        return self.handed_in[1]

    @property
    def student(self) -> Wired:
        """The lesson whose network is the job's student."""
        return self.lessons[STUDENT]

    @property
    def precisions(self) -> dict[str, NumberFormat]:
        """In what numbers each network is trained."""
        return {name: wired.precision.name for name, wired in self.lessons.items()}

    def plan(self, lesson: Lesson) -> Plan:
        """How long the lesson is."""
        return Plan(lesson.train, self.splits["train"].num_batches(lesson.train.batch_size))


def wire(order: WorkOrder, workdir: Path, device: torch.device, precisions: Mapping[str, Any] | None = None) -> Parts:
    """The parts of an order. `precisions` are those of the attempt before, where there was one.

    Raises UserConfig and UserInput that point into the spec.
    """
    spec = order.spec
    splits = data.load(workdir / "data.safetensors", order.dataset, device, order.data_memory_bytes)
    task = make_task(order.dataset, spec.train)
    view = task.student_view(device)
    rows = splits["train"].take(next(splits["train"].in_order(_DRY_ROWS)))
    bench = Bench(order, device, splits, view, rows)
    lessons = syllabus(spec, has_labels=order.dataset.num_labelled("train") > 0)
    _refuse_without_labels(lessons, order)
    wired: dict[str, Wired] = {}
    choosing = Choosing(order, device, precisions or {})
    for lesson in lessons.lessons:
        wired[lesson.name] = _bare(lesson, bench, choosing, list(wired.values()))
    source, handed_in = _source(Place(order, workdir, device, task, choosing, splits["train"])), None
    for group in lessons.groups:
        heard: dict[str, dict[str, Heard]] = {lesson.name: {} for lesson in group}
        for lesson in group:
            for name, guide in _guides(lesson, group, wired, source).items():
                heard[lesson.name][name], says = _listen(wired[lesson.name], guide)
                handed_in = (source, says) if source is not None and guide is source else handed_in
        for lesson in group:
            shown = [objective.needs(of[lesson.name].terms, "teacher") for of in heard.values() if lesson.name in of]
            wired[lesson.name] = replace(wired[lesson.name], heard=heard[lesson.name], shown=shown)
    return Parts(order, device, splits, task, view, handed_in, lessons, Transcripts(order, device), wired, choosing)


def _source(place: Place) -> Source | None:
    """The teacher that was handed in, as the spec says."""
    match place.order.spec.teacher:
        case BornAgain(teacher=None):
            return None
        case BornAgain(teacher=StoredTeacher() as first):
            return open_source(first, "/teacher/teacher", place)
        case (StoredTeacher() | GivenOutputs() | Ensemble()) as spec:
            return open_source(spec, "/teacher", place)
        case _:
            return None


def _bare(lesson: Lesson, bench: Bench, choosing: Choosing, before: list[Wired]) -> Wired:
    """The lesson's network, which listens to nobody yet."""
    same = [other for other in before if (other.lesson.student, other.lesson.seed) == (lesson.student, lesson.seed)]
    start = same[0].start if same else _start(lesson, bench)
    precision = _precision(lesson, bench, choosing, start, same)
    task = make_task(bench.order.dataset, lesson.train)
    with pointing(lesson):
        _refuse_cut_of_what_changes(lesson, task)
        _refuse_batches_of_one(lesson, bench, start.module)
        if lesson.has_exits:
            _refuse_without_exits(lesson, bench, start)
    return Wired(lesson, bench, task, precision, start)


def _precision(lesson: Lesson, bench: Bench, choosing: Choosing, start: Network, same: list[Wired]) -> Precision:
    """As a lesson before, where that has the same network and training; else chosen."""
    if lesson.name not in choosing.before:
        for other in same:
            if other.lesson.train == lesson.train and lesson.name not in bench.order.spec.arithmetic:
                return choosing.same_as(lesson.name, other.lesson.name)
    rows = bench.splits["train"]

    def batch() -> torch.Tensor:
        return bench.view(rows.take(next(rows.in_order(lesson.train.batch_size))).raw)

    is_read = any(term.needs_taps or term.needs_embedding for term in lesson.terms)
    compiles = not (is_read or lesson.has_exits or isinstance(lesson.guide, Beside))
    shape = bench.order.dataset.input_shape
    candidate = Candidate(start.module, shape, lesson.train, batch, len(rows), compiles=compiles)
    return choosing(lesson.name, candidate)


def _start(lesson: Lesson, bench: Bench) -> Network:
    """The network on the device at its random start, which is a function of the seed alone."""
    torch.manual_seed(derive(lesson.seed, "init"))
    data = bench.order.dataset
    network = build_network(lesson.student, data.input_shape, data.num_outputs, pointer=lesson.pointer("/student"))
    network.module.to(bench.device)
    return network


def _guides(lesson: Lesson, group: Group, wired: Mapping[str, Wired], source: Source | None) -> dict[str, Source]:
    """Who teaches in the lesson, by name. Networks of the job are there as they start: only their shapes count."""
    match lesson.guide:
        case Outside():
            assert source is not None, "a lesson by the teacher has one"
            return {TEACHER: source}
        case Earlier(lesson=name):
            return {name: _as_source(wired[name])}
        case Beside():
            return {other.name: _as_source(wired[other.name]) for other in group if other is not lesson}
        case Itself() if not lesson.has_exits:
            return {ITSELF: _as_source(wired[lesson.name])}
        case _:
            return {}


def _as_source(wired: Wired) -> Source:
    return wired.as_source(copy.deepcopy(wired.start))


def _listen(wired: Wired, source: Source) -> tuple[Heard, Says]:
    """The lesson's terms fitted to one who teaches, and that one at work."""
    lesson, bench, student = wired.lesson, wired.bench, wired.start
    with pointing(lesson):
        terms = _paired(list(lesson.terms), student, bench, source)
        for at, term in enumerate(terms):
            objective.refuse_unknown_taps(term, at, "student", modules_by_path(student.module).keys(), student.stages)
        refuse(terms, source, bench.order.dataset)
        teacher = source.teacher(terms, bench.rows)
        seen = lenses(terms, source, is_cut=cut_of(lesson.train, source.num_outputs) is not None)
        return Heard(terms, seen, first_answer(teacher, bench.rows, source.name)), teacher


def _paired(terms: list[LossTerm], student: Network, bench: Bench, source: Source) -> list[LossTerm]:
    """The terms with every `auto` replaced by pairs of stages."""
    if not any(_auto(term) for term in terms):
        return terms
    ours = Tapped(student, student.stages)
    with evaluating(student.module):
        features = ours(bench.x).features
    ours.close()
    shapes = {name: features[name].shape[1:] for name in student.stages}
    return [_pair(term, at, shapes, source, bench.rows) if _auto(term) else term for at, term in enumerate(terms)]


def _pair(term: LossTerm, at: int, ours: Mapping[str, pairing.Shape], source: Source, rows: data.Rows) -> LossTerm:
    theirs = heard_by(term, source).stage_shapes(rows)
    pairs = pairing.pair(ours, theirs)
    if not pairs:
        raise UserConfig.at(f"/loss/{at}/taps", pairing.no_pair(ours, theirs), code="no_pair")
    return term.model_copy(update={"taps": pairs})


def _auto(term: LossTerm) -> bool:
    return bool(getattr(term, "taps", None) == "auto")


def _refuse_without_labels(lessons: Syllabus, order: WorkOrder) -> None:
    """Where no teacher was handed in, what is learned comes from labels in the end."""
    if order.dataset.num_labelled("train") or not any(lesson.needs_labels for lesson in lessons.lessons):
        return
    raise UserConfig.at(
        "/teacher",
        "no training row has a label, and the students of this job could not learn from each other alone: name a "
        "teacher that was handed in",
        code="needs_labels",
    )


def _refuse_without_exits(lesson: Lesson, bench: Bench, student: Network) -> None:
    """A network that teaches its own stages has some, and the terms of the exits can be computed."""
    if len(student.stages) < 2:
        raise UserConfig.at(
            "/student",
            f"exits are put on all stages but the last, and this network has {len(student.stages) or 'no'} stage: take "
            "one with two or more",
            code="too_few_stages",
        )
    for at, term in enumerate(lesson.terms):
        refuse_without_labels(term, at, bench.order.dataset)


def _refuse_cut_of_what_changes(lesson: Lesson, task: Task) -> None:
    """`top_k` is of answers that are kept."""
    train = lesson.train
    if train.top_k is not None and train.views is None and task.augmentation() is not None:
        raise UserConfig.at(
            "/train/teacher_cache",
            "`top_k` is of answers that are kept, and these samples are shown anew in each epoch: set `views` as well, "
            "or set train.augment to none",
            code="top_k_does_not_fit",
        )


def _refuse_batches_of_one(lesson: Lesson, bench: Bench, student: nn.Module) -> None:
    """Batch normalisation has no variance to speak of in a batch of one row."""
    if min(lesson.train.batch_size, bench.order.dataset.counts["train"]) > 1:
        return
    before = {name: value.clone() for name, value in student.state_dict().items()}
    try:
        with torch.no_grad():
            student(bench.x[:1])
    except ValueError as error:
        raise UserConfig.at(
            "/train/batch_size", f"this student cannot train on batches of one: {error}", code="batch_too_small"
        ) from error
    finally:
        student.load_state_dict(before)

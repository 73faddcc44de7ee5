"""The figures of a finished job: the teacher and every student on the validation and test splits, in float32."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from models.lessons import STUDENT, Earlier, Outside
from worker.engine.answers import Answers, agreement, figures
from worker.engine.attempt import Finished
from worker.engine.check_teacher import Scored as Teachers
from worker.engine.check_teacher import score_teachers
from worker.engine.evaluate import Check, predict
from worker.engine.learner import Weights
from worker.engine.task import Metrics
from worker.engine.wired import Wired
from worker.engine.wiring import Parts


@dataclass(frozen=True)
class Epoch:
    """One epoch's student on both held-back splits."""

    epoch: int
    val: Metrics
    test: Metrics
    test_logits: Tensor | None
    #: Of each exit, by the stage that it is on.
    exits: dict[str, dict[str, Metrics]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        own: dict[str, Any] = {"epoch": self.epoch, "val": self.val, "test": self.test}
        return {**own, "exits": self.exits} if self.exits else own


@dataclass(frozen=True)
class Scored:
    """A student's best and last epoch; they are one where the last was the best."""

    best: Epoch
    last: Epoch
    selected: Epoch
    weights: Weights


@dataclass(frozen=True)
class Results:
    """All that a job's report compares."""

    lessons: dict[str, Scored]
    #: What the teachers that were handed in say of each split.
    teachers: dict[str, Teachers]
    #: On the test split, of each student with who taught it: that teacher, or a network before it.
    agreement: dict[str, float]
    #: Of the job's student with the teacher that was handed in.
    agreement_with_teacher: float | None

    @property
    def student(self) -> Scored:
        """The distilled student."""
        return self.lessons[STUDENT]


def score(parts: Parts, finished: Mapping[str, Finished], teachers_val: Teachers, check: Check) -> Results:
    """Every figure of the report. The teachers see the test split here, once."""
    teachers = {"val": teachers_val, "test": score_teachers(parts, "test", check) if parts.handed_in else Teachers()}
    scoring = _Scoring({name: teacher.together for name, teacher in teachers.items()}, check)
    scored = {name: scoring.lesson(parts.lessons[name], done) for name, done in finished.items()}
    heard, said = teachers["test"].together, scored[STUDENT].selected.test_logits
    with_teacher = None if said is None else agreement(parts.task, said, heard)
    return Results(scored, teachers, _agreement(parts, scored, heard), with_teacher)


def select(done: Finished, which: str) -> tuple[int, Weights]:
    """The epoch that is handed out, counted from 1, and its weights."""
    best = done.trail.best
    if which == "best" and best is not None:
        return best.epoch, best.weights
    return len(done.trail.epochs), done.last


def _agreement(parts: Parts, scored: Mapping[str, Scored], heard: Answers | None) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for name, one in scored.items():
        said = one.selected.test_logits
        match parts.lessons[name].lesson.guide:
            case Outside() if said is not None:
                found[name] = agreement(parts.task, said, heard)
            case Earlier(lesson=before) if said is not None:
                taught_by = scored[before].selected.test_logits
                assert taught_by is not None, "both have seen the split"
                found[name] = parts.task.agreement(said, taught_by)
    return {name: value for name, value in found.items() if value is not None}


class _Scoring:
    """Scores networks; `heard` is what the teachers say of each split, which takes the place of missing labels."""

    def __init__(self, heard: Mapping[str, Answers | None], check: Check) -> None:
        self._heard, self._check = heard, check

    def lesson(self, wired: Wired, done: Finished) -> Scored:
        """A student's best and last epoch."""
        last = self._epoch(wired, len(done.trail.epochs), done.last, done.beside)
        best, kept = last, done.trail.best
        if kept is not None and kept.epoch != last.epoch:
            best = self._epoch(wired, kept.epoch, kept.weights, kept.beside)
        chosen, weights = select(done, wired.lesson.train.select)
        return Scored(best, last, best if chosen == best.epoch else last, weights)

    def _epoch(self, wired: Wired, epoch: int, weights: Weights, beside: Weights) -> Epoch:
        module = wired.with_weights(weights).module
        said = {name: self._predict(wired, module, name) for name in self._heard}
        val, test = (self._figures(wired, name, logits) for name, logits in said.items())
        exits = self._exits(wired, wired.with_exits(weights, beside)) if beside else {}
        return Epoch(epoch, val, test, said["test"], exits)

    def _exits(self, wired: Wired, module: nn.Module) -> dict[str, dict[str, Metrics]]:
        found: dict[str, dict[str, Metrics]] = {stage: {} for stage in wired.exit_stages}
        for name in self._heard:
            logits_NEC = self._predict(wired, module, name)
            for at, stage in enumerate(found):
                found[stage][name] = self._figures(wired, name, None if logits_NEC is None else logits_NEC[:, at])
        return found

    def _figures(self, wired: Wired, name: str, logits: Tensor | None) -> Metrics:
        if logits is None:
            return {}
        return figures(wired.task, logits, wired.bench.splits[name].y, self._heard[name])

    def _predict(self, wired: Wired, module: nn.Module, name: str) -> Tensor | None:
        split = wired.bench.splits[name]
        if not len(split):
            return None
        return predict(module, split, wired.bench.view, wired.lesson.train.batch_size, self._check)

"""The figures of a finished job: teacher, student and control on the validation and test splits, in float32."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from worker.engine.attempt import CONTROL, STUDENT, Finished
from worker.engine.check_teacher import comparable
from worker.engine.evaluate import Check, ask, predict
from worker.engine.loop import Weights
from worker.engine.task import Metrics
from worker.engine.wiring import Parts


@dataclass(frozen=True)
class Epoch:
    """One epoch's student on both held-back splits."""

    epoch: int
    val: Metrics
    test: Metrics
    test_logits: Tensor | None

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {"epoch": self.epoch, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class Scored:
    """A run's best and last epoch; they are one where the last was the best."""

    best: Epoch
    last: Epoch
    selected: Epoch
    weights: Weights


@dataclass(frozen=True)
class Results:
    """All that a job's report compares."""

    runs: dict[str, Scored]
    teacher_val: Metrics | None
    teacher_test: Metrics | None
    agreement: float | None

    @property
    def student(self) -> Scored:
        """The distilled student."""
        return self.runs[STUDENT]

    @property
    def control(self) -> Scored | None:
        """The same student trained without a teacher, where there was one."""
        return self.runs.get(CONTROL)


def score(parts: Parts, finished: dict[str, Finished], teacher_val: Tensor | None, check: Check) -> Results:
    """Every figure of the report. The teacher sees the test split here, once."""
    runs = {name: _score_run(parts, done, check) for name, done in finished.items()}
    val, test = parts.splits["val"], parts.splits["test"]
    teacher_test = None
    if comparable(parts.order) and len(test):
        teacher_test = ask(parts.teacher, test, parts.order.spec.train.batch_size, check)
    student_test = runs[STUDENT].selected.test_logits
    agreement = None
    if teacher_test is not None and student_test is not None:
        agreement = parts.task.agreement(student_test, teacher_test)
    return Results(
        runs,
        None if teacher_val is None else parts.task.metrics(teacher_val, val.y),
        None if teacher_test is None else parts.task.metrics(teacher_test, test.y),
        agreement,
    )


def select(done: Finished, which: str) -> tuple[int, Weights]:
    """The epoch that is handed out, counted from 1, and its weights."""
    best = done.trail.best
    if which == "best" and best is not None:
        return best.epoch, best.weights
    return len(done.trail.epochs), done.last


def _score_run(parts: Parts, done: Finished, check: Check) -> Scored:
    last = _score_epoch(parts, len(done.trail.epochs), done.last, check)
    best = last
    if done.trail.best is not None and done.trail.best.epoch != last.epoch:
        best = _score_epoch(parts, done.trail.best.epoch, done.trail.best.weights, check)
    chosen, weights = select(done, parts.order.spec.train.select)
    return Scored(best, last, best if chosen == best.epoch else last, weights)


def _score_epoch(parts: Parts, epoch: int, weights: Weights, check: Check) -> Epoch:
    module = parts.student_with(weights).module
    val_logits, test_logits = (_predict(parts, module, name, check) for name in ("val", "test"))
    val, test = (
        {} if logits is None else parts.task.metrics(logits, parts.splits[name].y)
        for name, logits in (("val", val_logits), ("test", test_logits))
    )
    return Epoch(epoch, val, test, test_logits)


def _predict(parts: Parts, module: nn.Module, name: str, check: Check) -> Tensor | None:
    split = parts.splits[name]
    if not len(split):
        return None
    return predict(module, split, parts.view, parts.order.spec.train.batch_size, check)

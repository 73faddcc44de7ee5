"""Trains the runs of an attempt; between steps it writes lines and checkpoints and looks at the clock."""

import time
from dataclasses import replace

import torch

from core.errors import Deadline
from models.status import Phase
from worker.engine import cache
from worker.engine.attempt import CONTROL, Attempt, Finished, set_rng_state
from worker.engine.checkpoint import State
from worker.engine.evaluate import batch_rows, predict
from worker.engine.feed import Feed
from worker.engine.loop import Plan, Run
from worker.engine.objective import hard_alone
from worker.engine.seeds import derive
from worker.engine.sources.source import Says
from worker.engine.stop import Stopped
from worker.engine.taps import Tapped
from worker.engine.task import Metrics
from worker.engine.wiring import Parts

#: Epochs that a task may look at for a known fault.
_LOOKED_BACK = 10


class Interrupted(Exception):
    """Training ended early, with a checkpoint written; carries the run to whoever hands out what there is."""

    def __init__(self, run: Run, why: Stopped | Deadline) -> None:
        super().__init__()
        self.run, self.why = run, why


def train(attempt: Attempt, parts: Parts, name: str, saved: State | None) -> None:
    """Trains one run to its end, from where `saved` left it. Raises Interrupted from Stopped or Deadline."""
    run = _make_run(parts, name)
    torch.manual_seed(derive(parts.order.spec.train.seed, "train"))
    if saved:
        run.load_state_dict(saved["run"])
        set_rng_state(saved["rng"], attempt.device)
        attempt.progress.notice("resumed", f"the {name} goes on from step {run.step}")
    meanwhile = _Meanwhile(attempt, parts, run)
    try:
        if name != CONTROL:
            run.feed = replace(run.feed, says=_says(attempt, parts))
        attempt.progress.phase(Phase.TRAINING)
        while not run.done:
            run.train_epoch(meanwhile.between_steps)
            meanwhile.end_epoch()
        meanwhile.report(run.trail.epochs[-1]["train"])
    except (Stopped, Deadline) as why:
        meanwhile.save()
        attempt.checkpoints.wait()
        raise Interrupted(run, why) from why
    attempt.finished[name] = Finished(run.trail, run.weights())
    attempt.checkpoints.save(attempt.state(parts.precision.name, None))


def _make_run(parts: Parts, name: str) -> Run:
    """The run at its start, without a teacher."""
    split, train_spec = parts.splits["train"], parts.order.spec.train
    plan = Plan(train_spec, split.num_batches(train_spec.batch_size))
    feed = Feed(split, parts.view, parts.task.augmentation(), None)
    if name == CONTROL:
        net, objective = Tapped(parts.student()), hard_alone(parts.task)
    else:
        net = parts.tapped_student()
        objective = parts.objective(net)
    return Run(name, plan, net, objective, feed, parts.task, parts.precision)


def _says(attempt: Attempt, parts: Parts) -> Says | cache.Kept:
    """The teacher, or its outputs for all training samples where each would be asked for more than once."""
    split, spec = parts.splits["train"], parts.order.spec.train
    if parts.task.augmentation() or spec.epochs == 1 or not cache.fits(parts.dry_teacher, len(split)):
        return parts.teacher
    attempt.progress.phase(Phase.CACHING)
    return cache.keep(parts.teacher, split, batch_rows(spec.batch_size), attempt.device, attempt.stop.check)


class _Meanwhile:
    """What happens between the steps of one run."""

    def __init__(self, attempt: Attempt, parts: Parts, run: Run) -> None:
        self._attempt, self._parts, self._run = attempt, parts, run
        self._pace_at, self._pace_step = time.monotonic(), run.step

    def between_steps(self) -> None:
        """After each step; raises Stopped or Deadline."""
        attempt = self._attempt
        if attempt.progress.due():
            self.report(self._run.figures())
        if attempt.stop.checkpoint_requested or attempt.checkpoints.due(epoch_ended=False):
            self.save()
        attempt.stop.check()

    def end_epoch(self) -> None:
        """Scores the epoch on the validation split."""
        run, progress = self._run, self._attempt.progress
        run.refuse_not_finite()
        progress.metrics(run.finish_epoch(self._validate()))
        if sentence := self._parts.task.suspicion([epoch["train"] for epoch in run.trail.epochs[-_LOOKED_BACK:]]):
            progress.warning("double_softmax", f"the {run.name}: {sentence}")
        if self._attempt.checkpoints.due(epoch_ended=True):
            self.save()

    def save(self) -> None:
        """Keeps the run as it is, unless it is broken."""
        self._run.refuse_not_finite()
        self._attempt.checkpoints.save(self._attempt.state(self._parts.precision.name, self._run))
        self._attempt.stop.checkpoint_requested = False

    def _validate(self) -> Metrics:
        parts, split = self._parts, self._parts.splits["val"]
        if not len(split):
            return {}
        batch_size, check = parts.order.spec.train.batch_size, self._attempt.stop.check
        logits = predict(self._run.evaluated, split, parts.view, batch_size, check, parts.precision)
        return parts.task.metrics(logits, split.y)

    def report(self, figures: Metrics) -> None:
        """A progress line."""
        attempt, run, plan = self._attempt, self._run, self._run.plan
        done = attempt.runs.index(run.name) * plan.steps + run.step
        total = len(attempt.runs) * plan.steps
        steps_per_s = self._steps_per_s()
        attempt.progress.progress(
            {
                "run": run.name,
                "epoch": min(run.epoch + 1, plan.train.epochs),
                "epochs": plan.train.epochs,
                "step": run.step,
                "steps": plan.steps,
                "percent": round(100 * done / total, 2),
                "eta_s": round((total - done) / steps_per_s, 1),
                "samples_per_s": round(steps_per_s * len(self._parts.splits["train"]) / plan.steps_per_epoch, 1),
                "metrics": figures,
            }
        )

    def _steps_per_s(self) -> float:
        """Since the last line."""
        now, step = time.monotonic(), self._run.step
        pace = max(step - self._pace_step, 1) / max(now - self._pace_at, 1e-6)
        self._pace_at, self._pace_step = now, step
        return pace

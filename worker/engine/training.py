"""Trains the lessons of an attempt; between steps it writes lines and checkpoints and looks at the clock."""

import time
from dataclasses import replace

import torch

from core.errors import Deadline
from models.lessons import Earlier, Group, Outside
from models.seeds import derive
from models.status import Phase
from worker.engine import mixup
from worker.engine.answers import Answers, figures
from worker.engine.attempt import Attempt, Finished, set_rng_state
from worker.engine.checkpoint import State
from worker.engine.evaluate import predict
from worker.engine.feed import Feed
from worker.engine.keeping import kept
from worker.engine.learner import Learner
from worker.engine.loop import Run
from worker.engine.networks import count_flops
from worker.engine.results import select
from worker.engine.sources.source import Says
from worker.engine.stop import Stopped
from worker.engine.task import Metrics
from worker.engine.wired import Wired, pointing
from worker.engine.wiring import Parts

#: Epochs that a task may look at for a known fault.
_LOOKED_BACK = 10


class Interrupted(Exception):
    """Training ended early, with a checkpoint written; carries the run to whoever hands out what there is."""

    def __init__(self, run: Run, why: Stopped | Deadline) -> None:
        super().__init__()
        self.run, self.why = run, why


def train(attempt: Attempt, parts: Parts, group: Group, heard_val: Answers | None, saved: State | None) -> None:
    """Trains a group to its end, from where `saved` left it. Raises Interrupted from Stopped or Deadline.

    `heard_val` is what the teacher says of the validation split, which takes the place of missing labels.
    """
    run = make_run(parts, group)
    torch.manual_seed(derive(group[0].train.seed, "train"))
    if saved:
        run.load_state_dict(saved["run"])
        set_rng_state(saved["rng"], attempt.device)
        attempt.progress.notice("resumed", f"the {run.name} goes on from step {run.step}")
    meanwhile = _Meanwhile(attempt, parts, run, heard_val)
    try:
        if (teacher := _teacher(attempt, parts, parts.lessons[run.name])) is not None:
            run.feed = replace(run.feed, says=kept(attempt, parts, parts.lessons[run.name], teacher))
        attempt.progress.phase(Phase.TRAINING)
        with pointing(group[0]):
            while not run.done:
                run.train_epoch(meanwhile.between_steps)
                meanwhile.end_epoch()
        meanwhile.report(run.learners[0].trail.epochs[-1]["train"])
    except (Stopped, Deadline) as why:
        meanwhile.save()
        attempt.checkpoints.wait()
        raise Interrupted(run, why) from why
    for learner in run.learners:
        attempt.finished[learner.name] = Finished(learner.trail, learner.weights(), learner.beside())
    attempt.checkpoints.save(attempt.state(parts.choosing.arithmetic, None))


def make_run(parts: Parts, group: Group) -> Run:
    """The run of a group at its start, without a teacher that is not made of its own networks."""
    learners, following = [], None
    for lesson in group:
        wired = parts.lessons[lesson.name]
        network = wired.network()
        following = wired.following(network)
        net = wired.tapped(network)
        plan = parts.plan(lesson)
        learners.append(Learner(lesson.name, plan, net, wired.objective(net), wired.task, wired.precision))
    first = parts.lessons[group[0].name]
    mixing = mixup.from_spec(first.lesson.train)
    views, tally = first.lesson.train.views, parts.transcripts.tally
    feed = Feed(parts.splits["train"], parts.view, first.task.augmentation(), following, mixing, views, tally)
    shape, batch_size = parts.order.dataset.input_shape, first.lesson.train.batch_size
    flops = sum(count_flops(learner.net.module, shape) for learner in learners) * batch_size
    return Run(parts.plan(group[0]), learners, feed, following, flops)


def _teacher(attempt: Attempt, parts: Parts, wired: Wired) -> Says | None:
    """Who teaches in the lesson and does not change: what was handed in, or a network that is finished."""
    match wired.lesson.guide:
        case Outside():
            return parts.teacher
        case Earlier(lesson=name):
            before, (heard,) = parts.lessons[name], wired.heard.values()
            _, weights = select(attempt.finished[name], before.lesson.train.select)
            source = before.as_source(before.with_weights(weights))
            return source.teacher(heard.terms, wired.bench.rows)
        case _:
            return None


class _Meanwhile:
    """What happens between the steps of one run."""

    def __init__(self, attempt: Attempt, parts: Parts, run: Run, heard_val: Answers | None) -> None:
        self._attempt, self._parts, self._run, self._heard_val = attempt, parts, run, heard_val
        self._pace_at, self._pace_step = time.monotonic(), run.step
        plans = [parts.plan(group[0]).steps for group in parts.syllabus.groups]
        at = [group[0].name for group in parts.syllabus.groups].index(run.name)
        self._steps_before, self._steps = sum(plans[:at]), sum(plans)

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
        for line in run.finish_epoch([self._validate(learner) for learner in run.learners]):
            progress.metrics(line)
        for learner in run.learners:
            task = self._parts.lessons[learner.name].task
            if sentence := task.suspicion([epoch["train"] for epoch in learner.trail.epochs[-_LOOKED_BACK:]]):
                progress.warning("double_softmax", f"the {learner.name}: {sentence}")
        if self._attempt.checkpoints.due(epoch_ended=True):
            self.save()

    def save(self) -> None:
        """Keeps the run as it is, unless it is broken."""
        self._run.refuse_not_finite()
        self._attempt.checkpoints.save(self._attempt.state(self._parts.choosing.arithmetic, self._run))
        self._attempt.stop.checkpoint_requested = False

    def _validate(self, learner: Learner) -> Metrics:
        parts, split = self._parts, self._parts.splits["val"]
        if not len(split):
            return {}
        wired = parts.lessons[learner.name]
        batch_size, check = wired.lesson.train.batch_size, self._attempt.stop.check
        logits = predict(learner.evaluated, split, parts.view, batch_size, check, wired.precision)
        return figures(wired.task, logits, split.y, self._heard_val)

    def report(self, figures: Metrics) -> None:
        """A progress line."""
        attempt, run, plan = self._attempt, self._run, self._run.plan
        done = self._steps_before + run.step
        steps_per_s = self._steps_per_s()
        attempt.progress.progress(
            {
                "run": run.name,
                "epoch": min(run.epoch + 1, plan.train.epochs),
                "epochs": plan.train.epochs,
                "step": run.step,
                "steps": plan.steps,
                "percent": round(100 * done / self._steps, 2),
                "eta_s": round((self._steps - done) / steps_per_s, 1),
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

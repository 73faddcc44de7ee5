"""The training loop of one run: of the student, or of its control without a teacher.

A step does no input and output and never waits for the device. Between steps everything that makes the run lies in
`state_dict`, and a run that is loaded from it goes on exactly as the other would have.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from core.errors import UserConfig
from models.spec.training import Train
from worker.engine import optim
from worker.engine.checkpoint import State
from worker.engine.ema import Average
from worker.engine.feed import Feed
from worker.engine.meter import Meter
from worker.engine.objective import Objective
from worker.engine.precision import Precision
from worker.engine.taps import Tapped
from worker.engine.task import Metrics, Task

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """How long a run is. A step is one move of the optimizer, over `accumulate` batches."""

    train: Train
    num_batches: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps, the last of which may have fewer batches."""
        return -(-self.num_batches // self.train.accumulate)

    @property
    def steps(self) -> int:
        """Steps of the whole run, if it is not stopped early."""
        return self.steps_per_epoch * self.train.epochs


@dataclass
class Best:
    """The epoch that ranks first on the validation split, counted from 1."""

    epoch: int
    metrics: Metrics
    weights: Weights


@dataclass
class Trail:
    """What a run leaves behind: its epochs, the best and the last weights."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None
    #: What early stopping watches: the figure to beat, and for how many epochs it has stood.
    watched: float | None = None
    stale: int = 0
    stopped_early: bool = False
    train_s: float = 0.0


class Run:
    """One network in training."""

    def __init__(
        self, name: str, plan: Plan, net: Tapped, objective: Objective, feed: Feed, task: Task, precision: Precision
    ) -> None:
        self.name, self.plan, self.net, self.objective = name, plan, net, objective
        self.feed, self._task, self._precision = feed, task, precision
        spec = plan.train
        self._trained = [*net.module.parameters(), *objective.parameters()]
        self._optimizer = optim.make_optimizer(spec.optimizer, self._trained)
        self._average = Average(net.module, spec.ema) if spec.ema else None
        self._meter = Meter(objective.names, self._trained[0].device)
        #: Whole epochs done, steps done in the epoch after them.
        self.epoch, self.at = 0, 0
        self.trail = Trail()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.epoch * self.plan.steps_per_epoch + self.at

    @property
    def done(self) -> bool:
        """True when there is nothing left to train."""
        return self.epoch >= self.plan.train.epochs or self.trail.stopped_early

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        spec = self.plan.train
        step = min(self.step, self.plan.steps - 1)
        return optim.rate(spec.schedule, spec.optimizer.lr, step, self.plan.steps, self.plan.steps_per_epoch)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and handed out: the averaged copy where there is one."""
        return self._average.module if self._average else self.net.module

    def train_epoch(self, between: Callable[[], None]) -> None:
        """The steps that are left of this epoch; `between` is called after each and may raise."""
        spec = self.plan.train
        batches = self.feed.split.shuffled(spec.seed, self.epoch, spec.batch_size)
        self.net.module.train()
        for at in range(self.at, self.plan.steps_per_epoch):
            start = time.monotonic()
            self._step(batches[at * spec.accumulate : (at + 1) * spec.accumulate])
            self.at += 1
            self.trail.train_s += time.monotonic() - start
            between()

    def finish_epoch(self, val: Metrics) -> dict[str, Any]:
        """Take the epoch's validation figures, if there are any; returns the line for its event."""
        line = {"epoch": self.epoch + 1, "step": self.step, "run": self.name, "train": self.figures(), "val": val}
        self.trail.epochs.append(line)
        if val:
            self._rank(val)
        self.epoch, self.at = self.epoch + 1, 0
        self._meter.clear()
        return line

    def figures(self) -> Metrics:
        """The means of the epoch so far, and the learning rate. Waits for the device."""
        self.refuse_not_finite()
        return {**self._meter.read(), "lr": self.lr}

    def refuse_not_finite(self) -> None:
        """UserConfig where a loss of this epoch was not finite. Waits for the device."""
        bad = self._meter.first_bad()
        if bad is None:
            return
        spec = self.plan.train
        step = self.epoch * self.plan.steps_per_epoch + bad // spec.accumulate + 1
        broken = [name for name, value in self._meter.read().items() if value - value != 0]
        raise UserConfig.at(
            "/train/optimizer/lr",
            f"the loss was not finite at step {step} (epoch {self.epoch + 1}, {self.name}; {', '.join(broken)}): most "
            f"likely the learning rate {spec.optimizer.lr:g} is too high. Try {spec.optimizer.lr / 10:g}, a warm-up "
            "(train.schedule.warmup_epochs) or train.clip_norm",
            code="loss_not_finite",
        )

    def weights(self) -> Weights:
        """A copy of what would be handed out now."""
        return {name: x.detach().clone() for name, x in self.evaluated.state_dict().items()}

    def state_dict(self) -> State:
        """Everything that the run is made of; random generators are the caller's."""
        return {
            "epoch": self.epoch,
            "at": self.at,
            "model": self.net.module.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "meter": self._meter.state_dict(),
            "trail": trail_state(self.trail),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state."""
        self.epoch, self.at = state["epoch"], state["at"]
        self.net.module.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._meter.load_state_dict(state["meter"])
        self.trail = trail_from(state["trail"])

    def _step(self, group: list[Tensor]) -> None:
        """One move of the optimizer: the gradient of the mean over all samples of the group."""
        spec = self.plan.train
        samples = sum(len(positions_B) for positions_B in group)
        for positions_B in group:
            x, batch, teacher = self.feed(positions_B, self.epoch, self.step / self.plan.steps)
            with self._precision.autocast():
                student = self.net(x)
            loss, values_K = self.objective(student, teacher, batch)
            (loss * (len(positions_B) / samples) if len(group) > 1 else loss).backward()
            self._meter.add(values_K, len(positions_B))
        if spec.clip_norm:
            nn.utils.clip_grad_norm_(self._trained, spec.clip_norm)
        optim.set_rate(self._optimizer, self.lr)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average:
            self._average.update()

    def _rank(self, val: Metrics) -> None:
        trail, rank = self.trail, self._task.rank(val)
        if trail.best is None or rank > self._task.rank(trail.best.metrics):
            trail.best = Best(self.epoch + 1, val, self.weights())
        stopping = self.plan.train.early_stopping
        if stopping is None:
            return
        if trail.watched is None or rank[0] > trail.watched + stopping.min_delta:
            trail.watched, trail.stale = rank[0], 0
        else:
            trail.stale += 1
        trail.stopped_early = trail.stale >= stopping.patience


def trail_state(trail: Trail) -> State:
    """A trail as plain values and tensors."""
    return {**trail.__dict__, "best": trail.best.__dict__ if trail.best else None}


def trail_from(state: State) -> Trail:
    """The trail of a saved state."""
    return Trail(**{**state, "best": Best(**state["best"]) if state["best"] else None})

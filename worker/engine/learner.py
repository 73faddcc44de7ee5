"""One network in training: its loss, its optimizer, and what it leaves behind."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from core.errors import UserConfig
from models.spec.training import Train
from worker.engine import optim
from worker.engine.checkpoint import State
from worker.engine.ema import Average
from worker.engine.goal import Goal
from worker.engine.meter import Meter
from worker.engine.outputs import Batch, Outputs
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
    #: What the loss evaluates beside the network: the exits of its stages.
    beside: Weights = field(default_factory=dict)


@dataclass
class Trail:
    """What a network in training leaves behind: its epochs, the best and the last weights."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: Best | None = None
    #: What early stopping watches: the figure to beat, and for how many epochs it has stood.
    watched: float | None = None
    stale: int = 0
    stopped_early: bool = False
    train_s: float = 0.0


class Learner:
    """A network, its objective and its optimizer. The run that it is part of keeps count of the steps."""

    def __init__(self, name: str, plan: Plan, net: Tapped, objective: Goal, task: Task, precision: Precision) -> None:
        self.name, self.net, self.objective = name, net, objective
        self._plan, self._task, self._precision = plan, task, precision
        spec = plan.train
        if precision.compiled:
            net.compile()
        elif precision.name != "bf16":
            net.take_formula()
        self._trained = [*net.module.parameters(), *objective.parameters()]
        self._optimizer = optim.make_optimizer(spec.optimizer, self._trained)
        self._step = optim.bare_step(self._optimizer)
        self._average = Average(net.module, spec.ema) if spec.ema else None
        self._meter = Meter(objective, self._trained[0].device)
        self.trail = Trail()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and handed out: the averaged copy where there is one."""
        return self._average.module if self._average else self.net.module

    def answer(self, x: Tensor) -> Outputs:
        """What it says of a batch, as it is trained."""
        with self._precision.autocast():
            return self.net(x)

    def learn(self, said: Outputs, heard: Outputs | None, batch: Batch, share: float) -> None:
        """Take in the gradient of one batch, which is this share of its step; `heard` is what teaches it."""
        with self._precision.products():
            left = self.objective.learn(said, heard, batch, share)
        self._meter.add(left, len(batch.ids))

    def move(self, lr: float) -> None:
        """One step of the optimizer along what was taken in."""
        if self._plan.train.clip_norm:
            nn.utils.clip_grad_norm_(self._trained, self._plan.train.clip_norm)
        optim.set_rate(self._optimizer, lr)
        self._step()
        for parameter in self._trained:
            parameter.grad = None
        if self._average:
            self._average.update()

    def finish_epoch(self, epoch: int, step: int, lr: float, val: Metrics) -> dict[str, Any]:
        """Take the epoch's validation figures, if there are any; returns the line for its event."""
        line = {"epoch": epoch, "step": step, "run": self.name, "train": self.figures(lr), "val": val}
        self.trail.epochs.append(line)
        if val:
            self._rank(epoch, val)
        self._meter.clear()
        return line

    def figures(self, lr: float) -> Metrics:
        """The means of the epoch so far, and the learning rate. Waits for the device."""
        return {**self._meter.read(), "lr": lr}

    def refuse_not_finite(self, epochs: int) -> None:
        """UserConfig where a loss of the epoch after so many was not finite. Waits for the device."""
        bad = self._meter.first_bad()
        if bad is None:
            return
        spec = self._plan.train
        step = epochs * self._plan.steps_per_epoch + bad // spec.accumulate + 1
        broken = [name for name, value in self._meter.read().items() if value - value != 0]
        raise UserConfig.at(
            "/train/optimizer/lr",
            f"the loss was not finite at step {step} (epoch {epochs + 1}, {self.name}; {', '.join(broken)}): most "
            f"likely the learning rate {spec.optimizer.lr:g} is too high. Try {spec.optimizer.lr / 10:g}, a warm-up "
            "(train.schedule.warmup_epochs) or train.clip_norm",
            code="loss_not_finite",
        )

    def weights(self) -> Weights:
        """A copy of what would be handed out now."""
        return _copied(self.evaluated)

    def beside(self) -> Weights:
        """A copy of what is evaluated beside it."""
        return {} if self.objective.evaluated is None else _copied(self.objective.evaluated)

    def state_dict(self) -> State:
        """Everything that it is made of; random generators are the caller's."""
        return {
            "model": self.net.module.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "meter": self._meter.state_dict(),
            "trail": trail_state(self.trail),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state."""
        self.net.module.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._meter.load_state_dict(state["meter"])
        self.trail = trail_from(state["trail"])

    def _rank(self, epoch: int, val: Metrics) -> None:
        trail, rank = self.trail, self._task.rank(val)
        if trail.best is None or rank > self._task.rank(trail.best.metrics):
            trail.best = Best(epoch, val, self.weights(), self.beside())
        stopping = self._plan.train.early_stopping
        if stopping is None:
            return
        if trail.watched is None or rank[0] > trail.watched + stopping.min_delta:
            trail.watched, trail.stale = rank[0], 0
        else:
            trail.stale += 1
        trail.stopped_early = trail.stale >= stopping.patience


def _copied(module: nn.Module) -> Weights:
    return {name: x.detach().clone() for name, x in module.state_dict().items()}


def trail_state(trail: Trail) -> State:
    """A trail as plain values and tensors."""
    return {**trail.__dict__, "best": trail.best.__dict__ if trail.best else None}


def trail_from(state: State) -> Trail:
    """The trail of a saved state."""
    return Trail(**{**state, "best": Best(**state["best"]) if state["best"] else None})

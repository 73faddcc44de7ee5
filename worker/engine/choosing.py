"""How each network of a job computes: as it did before, as the spec says, by a rule, or as a few steps show.

The rule serves short runs: they start at once, and the same job computes the same way on every machine of a kind. A
long run times a few steps first. What was chosen goes into the job's spec, so that it is chosen once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.spec.precision import Arithmetic
from models.spec.training import Train
from models.work import WorkOrder
from worker.engine import race
from worker.engine.networks import count_flops, count_parameters
from worker.engine.precision import Precision, choose, computes_bf16

#: Floating point operations of a run from which timing some steps pays: minutes, where timing takes seconds.
LONG = {"cpu": 5e13, "cuda": 2e15}
#: How much longer a run must be for a compilation to be tried.
_COMPILE = 20
#: Each way has a copy of the network while it is timed.
_MOST_PARAMETERS = 200_000_000


@dataclass(frozen=True)
class Candidate:
    """A network whose way of computing is to be chosen. `batch` gives what it takes, of one batch of training rows."""

    module: nn.Module
    in_shape: tuple[int, ...]
    train: Train
    batch: Callable[[], Tensor]
    num_rows: int
    trains: bool = True
    #: False where something reads inside of it.
    compiles: bool = False

    @property
    def work(self) -> float:
        """Floating point operations of its whole run; a backward pass is two forward passes."""
        passes = self.num_rows * self.train.epochs * (3 if self.trains else 1)
        return float(count_flops(self.module, self.in_shape)) * passes


@dataclass
class Choosing:
    """Chooses once for each network, by name. `before` is what an attempt before has kept in its checkpoint."""

    order: WorkOrder
    device: torch.device
    before: Mapping[str, Any] = field(default_factory=dict)
    long: Mapping[str, float] = field(default_factory=lambda: LONG)
    chosen: dict[str, Precision] = field(default_factory=dict)
    #: By name: who chose, and what was timed.
    said: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, name: str, candidate: Candidate) -> Precision:
        """How the network computes."""
        if name not in self.chosen:
            self.chosen[name], self.said[name] = self._choose(name, candidate)
        return self.chosen[name]

    def same_as(self, name: str, other: str) -> Precision:
        """Give one network the choice of another that is built and trained alike."""
        self.chosen[name], self.said[name] = self.chosen[other], {"by": f"as {other}"}
        return self.chosen[name]

    @property
    def arithmetic(self) -> dict[str, Any]:
        """All choices, as the spec says them."""
        return {name: precision.arithmetic.model_dump() for name, precision in self.chosen.items()}

    def report(self) -> dict[str, Any]:
        """All choices, and how they came about."""
        return {name: {**one, **self.said[name]} for name, one in self.arithmetic.items()}

    def _choose(self, name: str, what: Candidate) -> tuple[Precision, dict[str, Any]]:
        if name in self.before:
            kept = self.before[name]
            wish = Arithmetic.model_validate(kept) if isinstance(kept, dict) else kept
            return self._as(wish, what), {"by": "checkpoint"}
        if what.train.precision != "auto":
            return self._as(what.train.precision, what), {"by": "spec"}
        if name in self.order.spec.arithmetic:
            return self._as(self.order.spec.arithmetic[name], what), {"by": "an attempt before"}
        usual = self._as("auto", what)
        if what.work < self.long[self.device.type] or count_parameters(what.module) > _MOST_PARAMETERS:
            return usual, {"by": "rule"}
        timed = race.race(what.module, what.batch(), self._ways(usual, what), trains=what.trains)
        steps = what.num_rows * what.train.epochs // what.train.batch_size
        return race.fastest(timed, usual, steps), {"by": "timing", "timed": [each.as_dict() for each in timed]}

    def _as(self, wish: Any, what: Candidate) -> Precision:
        return choose(wish, what.module, what.in_shape, what.train.batch_size, self.device)

    def _ways(self, usual: Precision, what: Candidate) -> list[Precision]:
        cuda = self.device.type == "cuda"
        plain = replace(usual, name="float32")
        ways = [plain, *([replace(usual, name="tf32")] if cuda else [])]
        ways += [replace(usual, name="bf16")] if computes_bf16(self.device) else []
        if usual.channels_last:
            ways += [replace(way, channels_last=False) for way in ways]
        if what.compiles and what.work >= _COMPILE * self.long[self.device.type]:
            ways += [replace(way, compiled=True) for way in ways if way.channels_last == usual.channels_last]
        return ways

"""Times a few steps of one network in several ways of computing, side by side, and holds each against float32.

Shapes: B rows of a batch, C outputs.
"""

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.engine.compiled import compiled, unheard
from worker.engine.precision import Precision

#: How far outputs may be from those in float32: root of the mean square of the difference, by that of the outputs.
MAX_ERROR = 0.05
#: And the loss, by the loss.
MAX_LOSS_ERROR = 0.02
_ROUNDS = 5
#: A way that is slower than the fastest by less than this is as good: noise must not decide.
_AS_GOOD = 0.97


@dataclass(frozen=True)
class Timed:
    """One way of computing: milliseconds of a step, and how far its outputs and its loss are from float32."""

    precision: Precision
    ms: float
    error: float
    loss_error: float
    #: What the first step took, compilation included.
    first_s: float

    @property
    def within(self) -> bool:
        """Whether it is near enough to float32. What is not a number is not."""
        return self.error <= MAX_ERROR and self.loss_error <= MAX_LOSS_ERROR

    def as_dict(self) -> dict[str, object]:
        """For the report."""
        figures = {"ms": round(self.ms, 3), "error": round(self.error, 5), "loss_error": round(self.loss_error, 5)}
        return {**self.precision.arithmetic.model_dump(), **figures, "within": self.within}


def race(module: nn.Module, x: Tensor, ways: Sequence[Precision], *, trains: bool) -> list[Timed]:
    """Each way timed, in turns, the least of some rounds; a way that fails, as where no compiler is, is left out.

    `trains`: forward and backward in train mode, else forward alone in evaluation mode. The module stays as it is, and
    so do random generators.
    """
    plain = Precision("float32", x.device.type, channels_last=False)
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        expected, target = _outputs(module, x, plain, trains=trains), None
        target = expected.argmax(1) if expected.shape[1] > 1 else expected + 1
        runners: dict[Precision, tuple[Callable[[], object], float, float, float]] = {}
        for way in ways:
            start = time.monotonic()
            try:
                with unheard() if way.compiled else nullcontext():
                    step = _step(module, x, target, way, trains=trains)
                    step()
                _wait(x.device)
                said = _outputs(module, x, way, trains=trains)
            except Exception:  # compilers fail in ways of their own
                if not way.compiled:
                    raise
                continue
            runners[way] = (step, *_errors(said, expected, target), time.monotonic() - start)
        least = dict.fromkeys(runners, float("inf"))
        for _ in range(_ROUNDS):
            for way, (step, *_rest) in runners.items():
                start = time.monotonic()
                step()
                _wait(x.device)
                least[way] = min(least[way], time.monotonic() - start)
    return [
        Timed(way, least[way] * 1000, error, loss_error, first_s)
        for way, (_, error, loss_error, first_s) in runners.items()
    ]


def fastest(timed: Sequence[Timed], usual: Precision, steps: int) -> Precision:
    """The fastest of those near enough to float32; the usual one unless another is faster by more than noise.

    A compilation has to pay for itself three times over in the steps that are to be done.
    """
    costs = {
        each.precision: each.ms + (3000 * each.first_s / max(1, steps) if each.precision.compiled else 0)
        for each in timed
        if each.within
    }
    if not costs:
        return Precision("float32", usual.device_type, usual.channels_last)
    best = min(costs, key=lambda way: costs[way])
    return usual if usual in costs and costs[best] > _AS_GOOD * costs[usual] else best


def _step(module: nn.Module, x: Tensor, target: Tensor, way: Precision, *, trains: bool) -> Callable[[], object]:
    copied = way.lay_out(copy.deepcopy(module)).train(trains).requires_grad_(trains)
    called = compiled(copied) if way.compiled else copied

    def step() -> None:
        with nullcontext() if trains else torch.no_grad():
            with way.autocast():
                said = called(x)
            if trains:
                with way.products():
                    torch.autograd.backward(_loss(said.float(), target))
                copied.zero_grad()

    return step


def _outputs(module: nn.Module, x: Tensor, way: Precision, *, trains: bool) -> Tensor:
    copied = way.lay_out(copy.deepcopy(module)).train(trains)
    torch.manual_seed(0)  # what is dropped out is the same for all
    with torch.no_grad(), way.autocast():
        said: Tensor = copied(x)
    return said.float()


def _errors(said: Tensor, expected: Tensor, target: Tensor) -> tuple[float, float]:
    error = float((said - expected).norm() / expected.norm().clamp_min(1e-12))
    loss, wanted = float(_loss(said, target)), float(_loss(expected, target))
    return error, abs(loss - wanted) / max(abs(wanted), 1e-12)


def _loss(said: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with the classes that float32 gives; of values, the square of their distance."""
    return F.mse_loss(said, target) if target.is_floating_point() else F.cross_entropy(said, target)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Steps that benchmarks of training set the engine beside. They need torch and the engine alone."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec.training import SGD
from worker.engine import optim
from worker.engine.compiled import Compiled
from worker.engine.precision import Precision, choose


def bare(module: nn.Module, x: Tensor, y: Tensor, sgd: SGD, precision: Precision | None = None) -> Callable[[], object]:
    """The student alone on one batch (N, ...) that is ready; where no precision is given, in the rule's."""
    precision = precision or choose("auto", module, tuple(x.shape[1:]), len(x), x.device)
    precision.lay_out(module).train()
    called = Compiled(module) if precision.compiled else module
    if precision.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = optim.make_optimizer(sgd, module.parameters())

    def step() -> None:
        with precision.autocast():
            said = called(x)
        torch.autograd.backward(F.cross_entropy(said.float(), y))
        optimizer.step()
        optimizer.zero_grad()

    return step


def tutorial(
    teacher: nn.Module,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    T: float,  # noqa: N803 - the temperature
    soft: float,
    hard: float,
) -> Callable[[], object]:
    """The common loop and its mistakes: softmax into cross-entropy, gradients through the teacher, a wait each step."""
    teacher.eval()

    def step() -> float:
        x, y = next(batches)
        optimizer.zero_grad()
        target = F.softmax(teacher(x) / T, 1)
        said = student.train()(x)
        taught = F.cross_entropy(F.softmax(said / T, 1), target)
        torch.autograd.backward(soft * T * T * taught + hard * F.cross_entropy(said, y))
        optimizer.step()
        return float(taught.detach())

    return step


def rate(step: Callable[[], object], steps: int, batch: int, device: torch.device) -> float:
    """Rows a second over so many steps, after one that is not counted."""
    step()
    _wait(device)
    start = time.monotonic()
    for _ in range(steps):
        step()
    _wait(device)
    return steps * batch / (time.monotonic() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

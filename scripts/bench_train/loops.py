"""The loops that the engine is set beside. Each gives the seconds of some steps on the same networks and data."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.bench_train.orders import Pair
from worker.engine import optim
from worker.engine.precision import choose

#: Rows a second over so many steps.
Loop = Callable[[int], float]
T = 4.0


def floor(pair: Pair, device: torch.device) -> Loop:
    """The student alone on one batch that is ready, in the precision that the engine takes."""
    module = pair.networks()[1].module.to(device).train()
    precision = choose("auto", module, pair.shape, pair.batch, device)
    precision.lay_out(module)
    x, y = _batch(pair, device)
    if precision.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = optim.make_optimizer(_sgd(), module.parameters())

    def step() -> None:
        with precision.autocast():
            said = module(x)
        torch.autograd.backward(F.cross_entropy(said.float(), y))
        optimizer.step()
        optimizer.zero_grad()

    return _timed(step, pair, device)


def tutorial(pair: Pair, device: torch.device) -> Loop:
    """The common loop, with its mistakes: softmax into cross-entropy, gradients through the teacher, a wait each step.

    Samples are changed one by one and come through a DataLoader without workers.
    """
    teacher, student = (network.module.to(device) for network in pair.networks())
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9)
    batches = _loader(pair, device)
    total = 0.0

    def step() -> None:
        nonlocal total
        x, y = next(batches)
        optimizer.zero_grad()
        target = F.softmax(teacher.eval()(x) / T, 1)
        said = student.train()(x)
        soft = F.cross_entropy(F.softmax(said / T, 1), target)
        torch.autograd.backward(soft + F.cross_entropy(said, y))
        optimizer.step()
        total += float(soft.detach())

    return _timed(step, pair, device)


def torchdistill(pair: Pair, device: torch.device) -> Loop | None:
    """Its own KDLoss, teacher, optimizer and step in float32; None where it is not installed."""
    try:
        from torchdistill.losses.mid_level import KDLoss
    except ImportError:
        return None
    teacher, student = (network.module.to(device) for network in pair.networks())
    teacher.eval().requires_grad_(False)
    loss = KDLoss("student", "out", "teacher", "out", temperature=T, alpha=0.1, reduction="batchmean")
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    batches = _loader(pair, device)

    def step() -> None:
        x, y = next(batches)
        with torch.no_grad():
            taught = {"teacher": {"out": teacher(x)}}
        said = {"student": {"out": student.train()(x)}}
        optimizer.zero_grad()
        torch.autograd.backward(loss(said, taught, y))
        optimizer.step()

    return _timed(step, pair, device)


def _loader(pair: Pair, device: torch.device) -> Any:
    """Endless batches, sample by sample, as a Dataset of torch gives them."""
    x, y = pair.data()

    class Rows(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return pair.rows

        def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
            if not pair.is_images:
                return x[at], y[at]
            image = F.pad(x[at].float() / 255, [4] * 4)
            top, left, flip = (int(n) for n in torch.randint(0, 9, (3,)))
            cut = image[:, top : top + pair.shape[1], left : left + pair.shape[2]]
            return (cut.flip(2) if flip % 2 else cut) / 0.29 - 0.5 / 0.29, y[at]

    loader = torch.utils.data.DataLoader(Rows(), pair.batch, shuffle=True, drop_last=True)
    while True:
        for images, labels in loader:
            yield images.to(device), labels.to(device)


def _batch(pair: Pair, device: torch.device) -> tuple[Tensor, Tensor]:
    x, y = pair.data()
    return x[: pair.batch].float().to(device), y[: pair.batch].to(device)


def _sgd() -> Any:
    from models.spec.training import SGD

    return SGD()


def _timed(step: Callable[[], None], pair: Pair, device: torch.device) -> Loop:
    def run(steps: int) -> float:
        step()
        wait(device)
        start = time.monotonic()
        for _ in range(steps):
            step()
        wait(device)
        return steps * pair.batch / (time.monotonic() - start)

    return run


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

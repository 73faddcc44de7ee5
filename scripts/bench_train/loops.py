"""The loops that the engine is set beside, on the same networks, rows and settings of SGD.

Each is made once and then asked for so many steps, again and again; it gives rows a second. Samples come one by one
through a DataLoader, as people have them: PIL images with torchvision's transforms, or rows of a table.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler

from models.spec.training import SGD
from scripts import bench_steps
from scripts.bench_train.orders import HARD, LR, MOMENTUM, SOFT, WEIGHT_DECAY, Pair, T
from worker.engine.heap import keep_freed
from worker.engine.networks import count_flops
from worker.engine.precision import Precision
from worker.engine.threads import enough_for
from worker.students._torchvision import make_importable

#: Rows a second over so many steps.
Loop = Callable[[int], float]
_WORKERS = 2
#: In the process of the floor: its loop, and the work of a forward pass over its batch.
_floor: list[tuple[Loop, float]] = []


def floor(pair: Pair, device: torch.device, precision: Precision) -> Loop:
    """The student alone on one batch that is ready, in this precision.

    It has a process of its own, in which freed memory is kept and threads are taken as in the engine's.
    """
    given = pair.bare(), device, precision, torch.get_num_threads()
    process = ProcessPoolExecutor(1, get_context("spawn"), _prepare_floor, given)
    return lambda steps: process.submit(_floor_rate, steps).result()


def _prepare_floor(pair: Pair, device: torch.device, precision: Precision, num_threads: int) -> None:
    keep_freed()
    torch.set_num_threads(num_threads)
    module = pair.networks()[1].module
    flops = count_flops(module, pair.shape) * pair.batch
    rows, labels = pair.given.rows("train")
    x, y = pair.standardised(rows[: pair.batch]).to(device), labels[: pair.batch].to(device)
    sgd = SGD(lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    _floor.append((_timed(bench_steps.bare(module.to(device), x, y, sgd, precision), pair, device), flops))


def _floor_rate(steps: int) -> float:
    ((loop, flops),) = _floor
    with enough_for(flops):
        return loop(steps)


def tutorial(pair: Pair, device: torch.device) -> Loop:
    """The common loop, with its mistakes, and no workers beside it."""
    teacher, student = (network.module.to(device) for network in pair.networks())
    batches = _endless(DataLoader(Samples(pair), pair.batch, shuffle=True, drop_last=True), device)
    step = bench_steps.tutorial(teacher, student, _sgd(student), batches, T, SOFT, HARD)
    return _timed(step, pair, device)


def library(pair: Pair, device: torch.device) -> Loop:
    """As the repositories of papers do it: the right loss, a teacher without gradients, float32, workers for images."""
    teacher, student = (network.module.to(device) for network in pair.networks())
    teacher.eval().requires_grad_(False)
    optimizer = _sgd(student)
    loader = DataLoader(Samples(pair), pair.batch, shuffle=True, drop_last=True, **workers(pair))
    batches = _endless(loader, device)
    losses: list[float] = []

    def step() -> None:
        x, y = next(batches)
        with torch.no_grad():
            target = F.softmax(teacher(x) / T, 1)
        said = student.train()(x)
        soft = F.kl_div(F.log_softmax(said / T, 1), target, reduction="batchmean") * T * T
        loss = SOFT * soft + HARD * F.cross_entropy(said, y)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())

    return _timed(step, pair, device)


def torchdistill(pair: Pair, device: torch.device) -> Loop | None:
    """Its DistillationBox with KDLoss, as its own training scripts run it; None where it is not installed."""
    box = distillation_box(pair, device, steps=100_000, seed=0)
    if box is None:
        return None
    box.pre_epoch_process(epoch=0)
    batches = _again(box.train_data_loader)

    def step() -> None:
        _box_step(box, next(batches), device)

    return _timed(step, pair, device)


def torchdistill_accuracy(pair: Pair, epochs: int, seed: int) -> float:
    """On the test rows, after so many epochs of the same box from a student of this seed."""
    device = torch.device("cpu")
    box = distillation_box(pair, device, epochs * (pair.num_rows // pair.batch), seed)
    assert box is not None
    for epoch in range(epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch in box.train_data_loader:
            _box_step(box, batch, device)
        box.post_epoch_process(metrics=0.0)
    return pair.accuracy(box.student_model)


def distillation_box(pair: Pair, device: torch.device, steps: int, seed: int) -> Any:
    """A DistillationBox for this pair, with hooks, loaders, optimizer and schedule as its configuration says them."""
    make_importable()
    try:
        from torchdistill.core.distillation import get_distillation_box
    except ImportError:
        return None
    logging.getLogger().setLevel(logging.WARNING)  # it says its configuration through the root logger
    teacher, student = pair.networks(seed)
    kept = {**workers(pair), "batch_size": pair.batch, "drop_last": True}
    config = {
        "num_epochs": 1,
        "train_data_loader": {"dataset_id": "train", "sampler": {"class_or_func": RandomSampler}, "kwargs": kept},
        "teacher": {
            "forward_proc": "forward_batch_only",
            "forward_hook": {"input": [], "output": [teacher.head]},
            "requires_grad": False,
        },
        "student": {
            "forward_proc": "forward_batch_only",
            "forward_hook": {"input": [], "output": [student.head]},
            "requires_grad": True,
        },
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": LR, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "nesterov": True},
        },
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": steps}, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": _kd(student.head, teacher.head)}}},
    }
    return get_distillation_box(
        teacher.module.eval(), student.module, {"train": Samples(pair)}, config, device, None, False, 1
    )


def _kd(student: str, teacher: str) -> dict[str, Any]:
    paths = {
        "student_module_path": student,
        "student_module_io": "output",
        "teacher_module_path": teacher,
        "teacher_module_io": "output",
    }
    kwargs = {**paths, "temperature": T, "alpha": HARD, "beta": SOFT, "reduction": "batchmean"}
    return {"criterion": {"key": "KDLoss", "kwargs": kwargs}, "weight": 1.0}


def _box_step(box: Any, batch: Any, device: torch.device) -> None:
    """One turn of `train_one_epoch` in its image classification example, without its log lines."""
    x, y, extra = batch
    box.pre_forward_process()
    box.post_forward_process(loss=box.forward_process(x.to(device), y.to(device), extra))


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Rows one by one: images through PIL and torchvision's transforms, cut and mirrored; tables as they are."""

    def __init__(self, pair: Pair) -> None:
        x, self._y = pair.given.rows("train")
        if not pair.is_images:
            self._x: Any = x
            self._transform: Callable[[Any], Tensor] = lambda row: row
            return
        make_importable()
        from torchvision import transforms

        self._x = [Image.fromarray(row.permute(1, 2, 0).numpy()) for row in x]
        meta = pair.given.meta
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(pair.shape[1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(meta.mean, meta.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._y)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        return self._transform(self._x[at]), self._y[at]


def workers(pair: Pair) -> dict[str, Any]:
    """Settings of a DataLoader. Rows of a table cost less than to send them from one process to another."""
    return {"num_workers": _WORKERS, "persistent_workers": True} if pair.is_images else {"num_workers": 0}


def _sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)


def _endless(loader: Any, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for x, y in _again(loader):
        yield x.to(device), y.to(device)


def _again(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _timed(step: Callable[[], object], pair: Pair, device: torch.device) -> Loop:
    return lambda steps: bench_steps.rate(step, steps, pair.batch, device)

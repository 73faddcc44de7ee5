"""How close the engine's loop comes to a bare training step, on images of 3x32x32 with resnet56 teaching resnet20.

    python -m scripts.bench_engine [--seconds 5] [--rounds 3] [--batch 64] [--threads 0]

Each round times, one after the other: the bare step (the student on one fixed batch, same precision, same optimizer),
the engine with the teacher's outputs kept, and the engine with the teacher asked at each step, with crop and flip.
Weights and images are random: only the time counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.work import StagedTeacher, WorkOrder
from worker.engine import cache, optim
from worker.engine.feed import Feed
from worker.engine.networks import build_network
from worker.engine.training import make_run
from worker.engine.wiring import Parts, wire

ROWS, SHAPE, CLASSES = 8192, (3, 32, 32), 100


CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}


class Elapsed(Exception):
    """Ends an epoch that has been timed for long enough."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="`cpu`: seconds of this process, for a shared machine, with --threads 1",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        parts = make_parts(Path(folder), args.batch, torch.device(args.device))
        timed = {
            "bare step": bare_step(parts, args.batch, args.clock),
            "engine, teacher kept": engine(parts, args.clock, kept=True),
            "engine, teacher each step": engine(parts, args.clock, kept=False),
        }
        rates: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(args.rounds):
            for name, measure in timed.items():
                rates[name].append(measure(args.seconds))
    print(f"{args.device}, {torch.get_num_threads()} threads, batch {args.batch}, {parts.student.precision.name}")
    floor = median(rates["bare step"])
    for name, values in rates.items():
        print(f"{name:28} {median(values):9.0f} images/s   {median(values) / floor:5.2f} of the bare step")


def make_parts(folder: Path, batch_size: int, device: torch.device) -> Parts:
    """A wired order on random images."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (ROWS + 64, *SHAPE), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, CLASSES, (len(x),), generator=generator)
    split = torch.zeros(len(x), dtype=torch.uint8)
    split[ROWS:] = 1
    save_file({"x": x, "y": y, "split": split}, folder / "data.safetensors")
    spec = JobSpec.model_validate(
        {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 20},
            "loss": {"type": "kd", "T": 4},
            "train": {"epochs": 1000, "batch_size": batch_size, "augment": {"crop": 4, "flip": True}},
        }
    )
    teacher = TeacherMeta.model_validate(
        {
            "architecture": {"type": "resnet", "depth": 56},
            "input_shape": SHAPE,
            "num_outputs": CLASSES,
            "parameters": 0,
        }
    )
    assert teacher.architecture.type != "onnx"
    staged = StagedTeacher(meta=teacher, sha256="", file="teacher.safetensors")
    save_file(build_network(teacher.architecture, SHAPE, CLASSES).module.state_dict(), folder / staged.file)
    data = DatasetMeta(
        task="image_classification",
        counts={"train": ROWS, "val": 64, "test": 0},
        input_shape=SHAPE,
        num_outputs=CLASSES,
        classes=[str(c) for c in range(CLASSES)],
        mean=[0.5] * 3,
        std=[0.25] * 3,
    )
    order = WorkOrder(
        job_id="bench", attempt=1, spec=spec, teachers={"tch_1": staged}, outputs={}, dataset=data, dataset_sha256=""
    )
    return wire(order, folder, device)


def bare_step(parts: Parts, batch_size: int, clock: str) -> Callable[[float], float]:
    """The student alone on one batch that is ready: forward, cross-entropy, backward, optimizer."""
    module = parts.student.network().module.train()
    rows = parts.splits["train"].take(torch.arange(batch_size, device=parts.device))
    x = parts.view(rows.raw)
    optimizer = optim.make_optimizer(parts.order.spec.train.optimizer, module.parameters())

    def step() -> None:
        with parts.student.precision.autocast():
            logits = module(x)
        torch.autograd.backward(F.cross_entropy(logits.float(), rows.y))
        optimizer.step()
        optimizer.zero_grad()

    def measure(seconds: float) -> float:
        step()
        synchronize(parts.device)
        start, steps = CLOCKS[clock](), 0
        while CLOCKS[clock]() - start < seconds:
            step()
            steps += 1
        synchronize(parts.device)
        return steps * batch_size / (CLOCKS[clock]() - start)

    return measure


def engine(parts: Parts, clock: str, *, kept: bool) -> Callable[[float], float]:
    """The loop of the engine, batches and loss and meter included."""
    split = parts.splits["train"]
    says = cache.keep(parts.teacher, split, 256, parts.device, lambda: None) if kept else parts.teacher
    run = make_run(parts, parts.syllabus.groups[0])
    run.feed = Feed(split, parts.view, None if kept else parts.task.augmentation(), says)

    def measure(seconds: float) -> float:
        start, before = 0.0, 0

        def between() -> None:
            nonlocal start, before
            if not start:  # the first step warms up
                synchronize(parts.device)
                start, before = CLOCKS[clock](), run.step
            if CLOCKS[clock]() - start > seconds:
                raise Elapsed

        try:
            while True:
                run.train_epoch(between)
                run.epoch, run.at = run.epoch + 1, 0
        except Elapsed:
            synchronize(parts.device)
        return (run.step - before) * run.plan.train.batch_size / (CLOCKS[clock]() - start)

    return measure


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

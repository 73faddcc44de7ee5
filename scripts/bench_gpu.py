"""How fast a job trains on a GPU, beside the tutorial loop and the bare step; without a GPU it says so and ends.

    python -m scripts.bench_gpu [--small] [--check] [--device cpu]

resnet56 teaches resnet20 at 3x32x32. It needs torch (2.11 or newer), numpy, safetensors and pydantic alone, as the
engine does, so that it runs where nothing else can be installed; the row of torchdistill is left out where that is
absent. The engine is `python -m worker.engine.run` on a work folder, its rate that of its phases of training and
caching. Sides take turns, and ratios are those of medians. Images, labels and weights are random: only the time counts.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.students import ResNet
from models.spec.training import SGD
from scripts import bench_steps
from scripts.bench_folders import CLASSES, SHAPE, Inputs, make_inputs, run
from worker.engine.networks import build_network
from worker.engine.precision import exact_products

TUTORIAL, TORCHDISTILL, FLOOR = "tutorial loop", "torchdistill KDLoss", "bare student step (the floor)"
EACH, KEPT, STEPS = "engine, teacher each step", "engine, teacher kept, filling counted", "engine, teacher kept, steps"
#: (row, beside, at least)
STATED = [(EACH, TORCHDISTILL, 2.1), (STEPS, TORCHDISTILL, 3.5), (STEPS, FLOOR, 0.93)]
_T = 4.0

Rates = dict[str, list[float]]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rows: int
    epochs: int
    rounds: int
    teacher: int = 56
    student: int = 20
    batch: int = 64


FULL, SMALL = Size(rows=32_768, epochs=8, rounds=3), Size(rows=4096, epochs=4, rounds=1)


def main() -> None:
    """Prints the table; with --check, exits with 1 where a stated ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU is to be had here: nothing was measured")
    device = torch.device(args.device)
    print(f"{_name(device)}, torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    rates = measure(SMALL if args.small else FULL, device)
    print("\n".join(table(rates)))
    missed = [line for line in stated(rates) if line.endswith("MISSED")]
    print("\n" + "\n".join(stated(rates)))
    sys.exit(1 if missed and args.check else 0)


def measure(size: Size, device: torch.device) -> Rates:
    """Images a second of each side, round by round."""
    exact_products()
    torch.backends.cudnn.benchmark = True
    loops = {TUTORIAL: _tutorial(size, device), TORCHDISTILL: _torchdistill(size, device), FLOOR: _floor(size, device)}
    rates: Rates = {}
    steps = max(2, size.rows // size.batch // 4)
    with tempfile.TemporaryDirectory() as name:
        inputs = make_inputs(Path(name) / "inputs", size.rows, {"type": "resnet", "depth": size.teacher})
        for at in range(size.rounds):
            for what, step in loops.items():
                if step is not None:
                    rates.setdefault(what, []).append(bench_steps.rate(step, steps, size.batch, device))
            for what, seconds in _engine(Path(name) / str(at), inputs, size, device).items():
                rates.setdefault(what, []).append(size.rows * size.epochs / seconds)
    return rates


def table(rates: Rates) -> list[str]:
    """Medians, and how each stands to torchdistill and to the floor."""
    lines = ["| loop | images/s | x torchdistill | of the floor |", "|---|---|---|---|"]
    for name, values in rates.items():
        rate = median(values)
        other = f"{rate / median(rates[TORCHDISTILL]):.2f}" if TORCHDISTILL in rates else "-"
        lines.append(f"| {name} | {rate:,.0f} | {other} | {rate / median(rates[FLOOR]):.2f} |")
    return lines


def stated(rates: Rates) -> list[str]:
    """A line for each stated ratio."""
    lines = []
    for name, beside, least in STATED:
        if beside not in rates:
            lines.append(f"{beside} is not installed: {name} is not compared with it")
            continue
        ratio = median(rates[name]) / median(rates[beside])
        verdict = "" if ratio >= least else "  MISSED"
        lines.append(f"{name}: {ratio:.2f} x {beside}, stated: at least {least}{verdict}")
    return lines


def _engine(folder: Path, inputs: Inputs, size: Size, device: torch.device) -> dict[str, float]:
    """Seconds of the engine's rows."""
    train = {"epochs": size.epochs, "batch_size": size.batch, "augment": {"crop": 4, "flip": True}, "control": False}
    seconds: dict[str, float] = {}
    for name, wish in ((EACH, "off"), (KEPT, {"views": 1})):
        spec: dict[str, Any] = {
            "student": {"type": "resnet", "depth": size.student},
            "loss": {"type": "kd", "T": _T},
            "train": {**train, "teacher_cache": wish},
        }
        done = run(folder / str(len(seconds)), inputs, spec, device=device.type)
        seconds[name] = done.phase("training") + done.phase("caching")
    return {**seconds, STEPS: done.phase("training")}


def _pair(size: Size, device: torch.device) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    depths = size.teacher, size.student
    teacher, student = (build_network(ResNet(depth=depth), SHAPE, CLASSES).module.to(device) for depth in depths)
    return teacher, student


def _floor(size: Size, device: torch.device) -> Callable[[], object]:
    _, module = _pair(size, device)
    x, y = torch.randn(size.batch, *SHAPE, device=device), torch.randint(0, CLASSES, (size.batch,), device=device)
    return bench_steps.bare(module, x, y, SGD())


def _tutorial(size: Size, device: torch.device) -> Callable[[], object]:
    teacher, student = _pair(size, device)
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9)
    return bench_steps.tutorial(teacher, student, optimizer, _batches(size, device), _T, soft=0.9, hard=0.1)


def _torchdistill(size: Size, device: torch.device) -> Callable[[], object] | None:
    """Its KDLoss in the usual step, in float32; None where it cannot be imported."""
    try:
        from torchdistill.losses.mid_level import KDLoss
    except ImportError:
        return None
    teacher, student = _pair(size, device)
    teacher.eval().requires_grad_(False)
    loss = KDLoss("student", "out", "teacher", "out", temperature=_T, alpha=0.1, reduction="batchmean")
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    batches = _batches(size, device)

    def step() -> None:
        x, y = next(batches)
        with torch.no_grad():
            taught = {"teacher": {"out": teacher(x)}}
        said = {"student": {"out": student.train()(x)}}
        optimizer.zero_grad()
        torch.autograd.backward(loss(said, taught, y))
        optimizer.step()

    return step


class _Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Random images, cropped and flipped one by one on the host, as a Dataset of torch gives them."""

    def __init__(self, rows: int) -> None:
        self._x = torch.randint(0, 256, (rows, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        image = F.pad(self._x[at].float() / 255, [4] * 4)
        top, left, flip = (int(n) for n in torch.randint(0, 9, (3,)))
        cut = image[:, top : top + SHAPE[1], left : left + SHAPE[2]]
        return (cut.flip(2) if flip % 2 else cut) / 0.25 - 0.4 / 0.25, at % CLASSES


def _batches(size: Size, device: torch.device) -> Any:
    images = torch.utils.data.DataLoader(_Images(min(size.rows, 4096)), size.batch, shuffle=True, drop_last=True)
    while True:
        for x, y in images:
            yield x.to(device), y.to(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU, which says nothing of a GPU"


if __name__ == "__main__":
    main()

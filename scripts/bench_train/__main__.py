"""How fast a job trains: the whole engine, from data to checkpoint, beside the loops that people run.

    python -m scripts.bench_train [--small] [--check] [--threads 2] [--device cuda]

All sides take turns in one run, in another order each round; a ratio is the median of the rounds' own ratios. The
engine is `python -m worker.engine.run` on a work folder. Its rate is that of its phase of training: batches, losses,
validation after each epoch, checkpoints. The first epoch of a run is not counted, nor is the first step of a loop.

The engine's runs are short here, and those of users are long. So the student computes as it would in a long run, which
may be compiled: the engine is asked for how, and the bare step computes so too. Where the teacher's outputs are kept,
it is for two fixed views of each image. One row is the whole phase of such a short run as it comes, never compiled,
with the seconds of filling; one its epochs alone; and the last those of a long run, with which the stated ratios are
compared. Seconds from the start of Python to the last file stand beside.

torchdistill is its DistillationBox with KDLoss. Images are Fashion-MNIST at 3x32x32 and the table is Adult, read from
../shared/data; where that is absent rows are made up, and accuracy is not compared. At the end three seeds of either
side are trained for equal epochs and scored on the same test rows. OpenMP threads wait as they do by default, as in a
job. The engine keeps what a step frees, and so does the process of the bare step; the others run as they come.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from scripts.bench_folders import Done
from scripts.bench_train import accuracy, choice, data, engine, loops
from scripts.bench_train.orders import Pair, taught
from worker.engine.precision import Precision

EACH, STEPS = "engine, teacher each step", "engine, teacher kept"
#: A short run as it comes.
KEPT, SHORT = "engine, short run, teacher kept, filling counted", "engine, short run, teacher kept"
FLOOR, TORCHDISTILL = "bare student step", "torchdistill"
#: (row, beside, at least).
STATED = [(EACH, TORCHDISTILL, 2.1), (STEPS, TORCHDISTILL, 3.5), (STEPS, FLOOR, 0.93)]
#: For images; a table never changes, so its outputs are kept in any case.
VIEWS: dict[str, Any] = {"teacher_cache": {"views": 2}}
#: Accuracy is that of images changed anew in each epoch, as the other side has them.
ANEW: dict[str, Any] = {"teacher_cache": "off"}

#: The bare step takes so many times the steps of the other loops, and about as long as the engine.
LONGER = 4

Rates = dict[str, list[float]]


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds, epochs of the engine with the teacher at each step and kept, steps of a loop."""

    rounds: int
    each: int
    kept: int
    steps: int


def main() -> None:
    """Prints a table for each pair; with --check, exits with 1 where something stated is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="1 on a shared machine")
    parser.add_argument("--rounds", type=int, help="instead of 5, or 2 with --small")
    parser.add_argument("--no-accuracy", action="store_true", help="rates alone")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as compiled:
        # Each run is a process of its own; what one compiles the next ones find.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled
        missed = run(args)
    sys.exit(1 if missed and args.check else 0)


def run(args: argparse.Namespace) -> int:
    """Measures both pairs and prints what came out; how much of what is stated was missed."""
    device, missed = torch.device(args.device), 0
    for pair, size, epochs in pairs(args.small):
        precision, sentence = choice.of_a_long_run(pair, device)
        print(f"{pair.name}: {sentence}", flush=True)
        rates, walls = measure(pair, device, precision, replace(size, rounds=args.rounds or size.rounds))
        Console(width=120).print(table(pair, rates, walls))
        missed += report_stated(rates)
        if TORCHDISTILL in rates and pair.given.real and not args.no_accuracy:
            anew = ANEW if pair.is_images else {}
            compared = accuracy.compare(pair, args.device, arithmetic(precision), epochs, anew)
            print(accuracy.told(pair, epochs, compared), flush=True)
            missed += not compared.holds
    return missed


def pairs(small: bool) -> list[tuple[Pair, Size, int]]:
    """The two pairs, each with its size and the epochs after which accuracy is compared."""
    images = data.images(1024, 512) if small else data.images(4096, 2000)
    adult = data.adult(8192, 4096) if small else data.adult(32_000, 16_000)
    deep = Pair("resnet56 to resnet20", {"type": "resnet", "depth": 56}, {"type": "resnet", "depth": 20}, images)
    wide = Pair("mlp to mlp", {"type": "mlp", "hidden": [256, 256]}, {"type": "mlp", "hidden": [64]}, adult)
    sizes = (Size(2, 2, 4, 6), Size(2, 2, 4, 200)) if small else (Size(5, 3, 4, 32), Size(5, 3, 6, 1000))
    made = []
    for pair, size, teaching, epochs in ((deep, sizes[0], 3, 3 if small else 4), (wide, sizes[1], 4, 3)):
        made.append((replace(pair, weights=taught(pair, teaching) if pair.given.real else {}), size, epochs))
    return made


def arithmetic(precision: Precision) -> dict[str, Any]:
    """Of the spec of a job whose student computes so; empty where it would by itself."""
    return {"student": precision.arithmetic.model_dump()} if precision.compiled else {}


def measure(pair: Pair, device: torch.device, precision: Precision, size: Size) -> tuple[Rates, Rates]:
    """Rows a second of each side, round by round, and the whole wall seconds of the engine's.

    `precision` is that of the student and of the bare step, in short runs only where nothing is compiled.
    """
    walls: Rates = {}
    long = arithmetic(precision)

    def loop(name: str, run: loops.Loop) -> Callable[[], dict[str, float]]:
        return lambda: {name: run(size.steps * (LONGER if name == FLOOR else 1))}

    def job(name: str, how: dict[str, Any], epochs: int, **train: Any) -> Done:
        done = engine.run(pair, device.type, how, epochs=epochs, **train)
        walls.setdefault(name, []).append(done.seconds)
        return done

    def each() -> dict[str, float]:
        done = job(EACH, long, size.each, teacher_cache="off")
        return {EACH: pair.num_rows * (size.each - 1) / done.later_s}

    def kept() -> dict[str, float]:
        views = VIEWS if pair.is_images else {}
        done = job(KEPT, {}, size.kept, **views)
        later = pair.num_rows * (size.kept - 1)
        whole = pair.num_rows * size.kept / (done.phase("training") + done.phase("caching"))
        if not long:
            return {KEPT: whole, STEPS: later / done.later_s}
        return {KEPT: whole, SHORT: later / done.later_s, STEPS: later / job(STEPS, long, size.kept, **views).later_s}

    beside = {
        "tutorial loop": loops.tutorial(pair, device),
        "research-library style loop": loops.library(pair, device),
        TORCHDISTILL: loops.torchdistill(pair, device),
        FLOOR: loops.floor(pair, device, precision),
    }
    sides = [*(loop(name, run) for name, run in beside.items() if run is not None), each, kept]
    rates: Rates = {}
    for number in range(size.rounds):
        turn = number % len(sides)
        found: dict[str, float] = {}
        for side in sides[turn:] + sides[:turn]:
            found |= side()
        for name in [*beside, EACH, KEPT, SHORT, STEPS]:
            if name in found:
                rates.setdefault(name, []).append(found[name])
    return rates, walls


def ratio(rates: Rates, name: str, beside: str) -> float:
    """The median of the rounds' ratios."""
    return median(one / other for one, other in zip(rates[name], rates[beside], strict=True))


def table(pair: Pair, rates: Rates, walls: Rates) -> Table:
    """Medians, and how each stands to torchdistill and to the floor."""
    rows = f"{pair.num_rows:,} {'real' if pair.given.real else 'made-up'} rows"
    made = Table(title=f"{pair.name}, batch {pair.batch}, {rows}, {torch.get_num_threads()} threads")
    for column in ("loop", "rows/s", "x torchdistill", "of the floor", "wall s"):
        made.add_column(column)
    for name, values in rates.items():
        times = f"{ratio(rates, name, TORCHDISTILL):.2f}" if TORCHDISTILL in rates else "-"
        wall = f"{median(walls[name]):.1f}" if name in walls else ""
        made.add_row(name, f"{median(values):,.0f}", times, f"{ratio(rates, name, FLOOR):.2f}", wall)
    return made


def report_stated(rates: Rates) -> int:
    """Prints each stated ratio; how many are missed."""
    missed = 0
    for name, beside, least in STATED:
        if beside not in rates:
            print(f"{beside} is not installed: not compared")
            continue
        found = ratio(rates, name, beside)
        missed += found < least
        verdict = "" if found >= least else "  MISSED"
        print(f"{name}: {found:.2f} x {beside}, stated: at least {least}{verdict}", flush=True)
    return missed


if __name__ == "__main__":
    main()

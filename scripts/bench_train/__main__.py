"""How fast a job trains: the whole engine, from data to checkpoint, beside the loops that people run.

    python -m scripts.bench_train [--small] [--check] [--threads 2] [--device cuda]

All sides take turns in one run, and ratios are those of medians. The engine is `python -m worker.engine.run` on a work
folder. Its rate is that of its phases of training (batches, losses, validation, checkpoints) and, where the teacher's
outputs are kept, of filling them; the row `steps alone` leaves the filling out. torchdistill is its KDLoss with the
usual step around it, which is less work than its DistillationBox does. Weights and labels are random, seed 0: only the
time counts here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from scripts.bench_train import loops
from scripts.bench_train.orders import Pair

RESNETS = Pair(
    "resnet56 to resnet20", {"type": "resnet", "depth": 56}, {"type": "resnet", "depth": 20}, (3, 32, 32), 100, 4096
)
MLPS = Pair(
    "mlp of the shape of Adult",
    {"type": "mlp", "hidden": [256, 256]},
    {"type": "mlp", "hidden": [64]},
    (105,),
    2,
    32_768,
)
EACH, KEPT, STEPS = "engine, teacher each step", "engine, teacher kept", "engine, teacher kept, steps alone"
FLOOR, TORCHDISTILL = "bare student step", "torchdistill KDLoss"
#: (row, beside, at least): stated for the pair of residual networks.
STATED = [(EACH, TORCHDISTILL, 2.1), (STEPS, TORCHDISTILL, 3.5), (STEPS, FLOOR, 0.93)]

Rates = dict[str, list[float]]


def main() -> None:
    """Prints a table for each pair; with --check, exits with 1 where a stated ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="1 on a shared machine")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device, rounds = torch.device(args.device), 1 if args.small else 3
    missed = 0
    for pair in (RESNETS, MLPS):
        chosen = replace(pair, rows=pair.rows // 4) if args.small else pair
        rates, walls = measure(chosen, device, rounds, epochs=4 if args.small else 8)
        Console(width=110).print(table(chosen, rates, walls))
        if pair is RESNETS:
            missed += report_stated(rates)
    sys.exit(1 if missed and args.check else 0)


def measure(pair: Pair, device: torch.device, rounds: int, epochs: int) -> tuple[Rates, Rates]:
    """Rows a second of each side, round by round, and the whole wall seconds of the engine's."""
    beside = {
        "tutorial loop": loops.tutorial(pair, device),
        TORCHDISTILL: loops.torchdistill(pair, device),
        FLOOR: loops.floor(pair, device),
    }
    steps = max(2, pair.rows // pair.batch // 4)
    rates: Rates = {}
    walls: Rates = {}
    kept: dict[str, Any] = {"teacher_cache": {"views": 1}} if pair.is_images else {}
    for _ in range(rounds):
        for name, loop in beside.items():
            if loop is not None:
                rates.setdefault(name, []).append(loop(steps))
        # A table is never changed, so its outputs are kept in any case, unless there is one epoch.
        for name, train, num in ((EACH, {"teacher_cache": "off"}, 1), (KEPT, kept, epochs)):
            timings, wall_s = engine(pair, device, num, train)
            walls.setdefault(name, []).append(wall_s)
            rows, training = pair.rows * num, timings["training"]
            rates.setdefault(name, []).append(rows / (training + timings.get("caching", 0.0)))
            if name == KEPT:
                rates.setdefault(STEPS, []).append(rows / training)
    return rates, walls


def engine(pair: Pair, device: torch.device, epochs: int, train: dict[str, Any]) -> tuple[dict[str, float], float]:
    """The seconds of each phase of a whole job, and its wall seconds, start of Python included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        pair.order(folder, epochs, device.type, **train)
        env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "OMP_WAIT_POLICY": "PASSIVE"}
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "worker.engine.run", str(folder)], env=env, capture_output=True, check=False
        )
        wall_s = time.monotonic() - start
        if done.returncode:
            sys.exit(done.stderr.decode())
        timings: dict[str, float] = json.loads((folder / "out" / "report.json").read_text())["timings"]
        return timings, wall_s


def table(pair: Pair, rates: Rates, walls: Rates) -> Table:
    """Medians, and how each stands to torchdistill and to the floor."""
    made = Table(title=f"{pair.name}, batch {pair.batch}, {pair.rows} rows, {torch.get_num_threads()} threads")
    for column in ("loop", "rows/s", "x torchdistill", "of the floor", "wall s"):
        made.add_column(column)
    floor, other = median(rates[FLOOR]), rates.get(TORCHDISTILL)
    for name, values in rates.items():
        ratio = f"{median(values) / median(other):.2f}" if other else "-"
        wall = f"{median(walls[name]):.1f}" if name in walls else ""
        made.add_row(name, f"{median(values):,.0f}", ratio, f"{median(values) / floor:.2f}", wall)
    return made


def report_stated(rates: Rates) -> int:
    """Prints each stated ratio; how many are missed."""
    missed = 0
    for name, beside, least in STATED:
        if beside not in rates:
            print(f"{beside} is not installed: not compared")
            continue
        ratio = median(rates[name]) / median(rates[beside])
        missed += ratio < least
        print(f"{name}: {ratio:.2f} x {beside}, stated: at least {least}{'' if ratio >= least else '  MISSED'}")
    return missed


if __name__ == "__main__":
    main()

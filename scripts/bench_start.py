"""`make bench-start`: from POST /jobs to the first optimizer step, on a worker with spares and on one without, in turn.

The job is of the size of scikit-learn's digits. Every time is one that the service itself keeps: the rows of its
events, and what the engine's lines say of when they were written. Both sides run on this machine, one job at a time,
alternating, so that what else runs here slows both.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scripts.client import Client
from scripts.stack import Stack
from worker.students import mlp

_P50_S, _P95_S = 0.6, 1.2
_JOB = {
    "student": {"type": "mlp", "hidden": [24]},
    "loss": {"type": "kd", "T": 4},
    "train": {"epochs": 2, "batch_size": 64, "control": False},
    "allow_weak_teacher": True,
}
_HIDDEN = [512, 256]
_SIZES = (1257, 270, 270)
#: The parts of a start, each from the end of the one before.
_PARTS = {
    "request": "POST until the job's row is there",
    "wake-up": "its message, until a process of the worker has claimed it",
    "claim": "the claim's transaction, and a work folder",
    "staging": "verified copies of teacher and data, the order; a child",
    "child": "the engine's imports, until it reads its files",
    "checking": "data, networks and losses wired; the teacher scored",
    "caching": "the teacher's outputs for all training rows",
    "first step": "until the first step is done",
}

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Print the table; 1 where CHECK=1 asks for more than was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="fewer jobs")
    parser.add_argument("--check", action="store_true", help="end with 1 where a stated figure is missed")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder, ExitStack() as stack:
        sides = {
            name: _Side(stack.enter_context(Stack(Path(folder) / name, spares=spares)), Path(folder))
            for name, spares in (("spare", "true"), ("cold", "false"))
        }
        for side in sides.values():  # the first job of a worker also waits for its spare
            side.start()
        times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(6 if told.small else 20):
            for name, side in sides.items():
                times[name].append(side.start())
        spares = sides["spare"].spares()
    _print(times, spares)
    totals = [sum(parts.values()) for parts in times["spare"]]
    return int(told.check and (median(totals) > _P50_S or _p95(totals) > _P95_S))


class _Side:
    """A service with a teacher and a data set that are ready."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._client = Client(stack.url)
        _hand_in(folder)
        architecture = {"type": "mlp", "hidden": _HIDDEN}
        dataset = self._client.dataset("d", folder / "digits.npz", "image_classification")
        teacher = self._client.teacher("t", folder / "teacher.pth", architecture, input={"preset": "none"})
        self._job = {**_JOB, "teacher": self._client.ready(teacher)["id"], "dataset": self._client.ready(dataset)["id"]}

    def start(self) -> dict[str, float]:
        """Seconds of each part of a job's start; returns when the job has ended."""
        asked = time.time()
        job_id = self._client.post("/jobs", self._job)["id"]
        events = list(self._client.events(job_id))
        assert events[-1]["type"] == "succeeded", events[-1]
        return _parts(asked, events)

    def spares(self) -> dict[str, float]:
        """Megabytes of each spare that are its own: what it costs while it waits."""
        return {
            name: _own_bytes(path) / 2**20
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and (name := _spare_of(path, self._stack.worker_pid)) is not None
        }


def _parts(asked: float, events: Sequence[dict[str, Any]]) -> dict[str, float]:
    rows = {event["type"]: datetime.fromisoformat(event["at"]).timestamp() for event in reversed(events)}
    phases = {event["data"]["phase"]: event["data"] for event in events if event["type"] == "phase"}
    step = next(event["data"]["at"] for event in events if event["type"] == "progress")
    checking, training = phases["checking"], phases["training"]["at"]
    cached = phases["caching"]["at"] if "caching" in phases else training
    ends = [
        *(rows["queued"], rows["started"], phases["staging"]["at"]),
        *(checking["began"], checking["at"], cached, training, step),
    ]
    return {name: end - begin for name, begin, end in zip(_PARTS, [asked, *ends], ends, strict=False)}


def _hand_in(folder: Path) -> None:
    """Random digits and a random teacher: only the time counts."""
    generator = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {}
    for name, size in zip(("train", "val", "test"), _SIZES, strict=True):
        arrays[f"x_{name}"] = generator.integers(0, 256, (size, 8, 8), dtype=np.uint8)
        arrays[f"y_{name}"] = generator.integers(0, 10, size)
    np.savez(folder / "digits.npz", allow_pickle=False, **arrays)
    torch.manual_seed(0)
    torch.save(mlp.build((1, 8, 8), 10, hidden=_HIDDEN).state_dict(), folder / "teacher.pth")


def _spare_of(process: Path, worker: int) -> str | None:
    """The module that a spare of the worker waits with; None where the process is none."""
    try:
        words = (process / "cmdline").read_text().split("\0")
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
    return words[words.index("worker.forker") + 1] if parent == worker and "worker.forker" in words else None


def _own_bytes(process: Path) -> int:
    fields = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    return sum(int(fields[name].split()[0]) * 1024 for name in ("Private_Clean", "Private_Dirty"))


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def _print(times: dict[str, list[dict[str, float]]], spares: dict[str, float]) -> None:
    table = Table("part", *(f"{name}, median s" for name in times), "what it is")
    for part, words in _PARTS.items():
        table.add_row(part, *(f"{median(each[part] for each in times[name]):.3f}" for name in times), words)
    table.add_section()
    totals = {name: [sum(parts.values()) for parts in found] for name, found in times.items()}
    table.add_row("p50", *(f"{median(each):.3f}" for each in totals.values()), f"with a spare at most {_P50_S} s")
    table.add_row("p95", *(f"{_p95(each):.3f}" for each in totals.values()), f"with a spare at most {_P95_S} s")
    ratio = median(cold / warm for warm, cold in zip(totals["spare"], totals["cold"], strict=True))
    table.add_row("ratio", "1", f"{ratio:.1f}", "median of the pairs")
    console.print(table)
    console.print(f"{len(totals['spare'])} jobs each, alternating; memory of the spares alone: ", end="")
    console.print(", ".join(f"{name} {size:.0f} MB" for name, size in sorted(spares.items())))


if __name__ == "__main__":
    sys.exit(main())

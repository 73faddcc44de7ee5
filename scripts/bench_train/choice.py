"""How the student of a long run computes: what the engine finds for it on this machine where the spec says `auto`."""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from models.spec.job import JobSpec
from scripts.bench_folders import order_for
from scripts.bench_train.orders import Pair
from worker.engine.choosing import Candidate, Choosing
from worker.engine.heap import keep_freed
from worker.engine.precision import Precision

#: A usual run: CIFAR's rows, and the epochs for which students of papers learn on them.
ROWS, EPOCHS = 50_000, 200


def of_a_long_run(pair: Pair, device: torch.device) -> tuple[Precision, str]:
    """The precision, and a sentence about how it came about; in a process that is as the engine's."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        chosen, said = process.submit(_choose, pair.bare(), device, torch.get_num_threads()).result()
    timed = ", ".join(_told(one) for one in sorted(said.get("timed", []), key=lambda one: float(one["ms"])))
    length = f"{EPOCHS} epochs of {ROWS:,} rows"
    return chosen, f"the student as in a run of {length}: {_way(chosen.arithmetic.model_dump())}, by {said['by']}" + (
        f" (ms a step: {timed})" if timed else ""
    )


def _choose(pair: Pair, device: torch.device, num_threads: int) -> tuple[Precision, dict[str, Any]]:
    keep_freed()
    torch.set_num_threads(num_threads)
    spec = pair.spec({"epochs": EPOCHS})
    x, _ = pair.given.rows("train")
    with tempfile.TemporaryDirectory() as name:
        choosing = Choosing(order_for(pair.inputs(Path(name)), spec), device)
    module = pair.networks()[1].module.to(device)
    train = JobSpec.model_validate(spec).train
    what = Candidate(module, pair.shape, train, lambda: pair.standardised(x).to(device), ROWS, compiles=True)
    return choosing("student", what), choosing.said["student"]


def _way(arithmetic: dict[str, Any]) -> str:
    return " ".join([arithmetic["name"], *(word for word in ("channels_last", "compile") if arithmetic[word])])


def _told(one: dict[str, Any]) -> str:
    return f"{_way(one)} {one['ms']:.1f}"

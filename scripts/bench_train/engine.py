"""A whole job of ours, as the supervisor starts it."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from scripts import bench_folders
from scripts.bench_folders import Done
from scripts.bench_train.orders import Pair


def run(pair: Pair, device: str, arithmetic: dict[str, Any], **train: Any) -> Done:
    """Runs the job with these fields of `train`; `arithmetic` is of the spec, and empty where the job is to choose."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        order = {"device": device, "threads": torch.get_num_threads()}
        spec = {**pair.spec(train), "arithmetic": arithmetic}
        return bench_folders.run(folder / "work", pair.inputs(folder), spec, look_s=60, **order)

"""A whole job of ours: `python -m worker.engine.run` on a work folder, as the supervisor starts it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.bench_train.orders import Pair


@dataclass(frozen=True)
class Done:
    """Its report, and its wall seconds from the start of Python to its end."""

    report: dict[str, Any]
    wall_s: float

    def seconds(self, phase: str) -> float:
        """Of one of its phases; 0 where it had none."""
        return float(self.report["timings"].get(phase, 0.0))


def run(pair: Pair, device: str, **train: Any) -> Done:
    """Runs the job with these fields of `train`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        pair.order(folder, device, **train)
        env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "OMP_WAIT_POLICY": "PASSIVE"}
        start = time.monotonic()
        command = [sys.executable, "-m", "worker.engine.run", str(folder)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        wall_s = time.monotonic() - start
        if done.returncode:
            sys.exit(done.stderr)
        return Done(json.loads((folder / "out" / "report.json").read_text()), wall_s)

"""The benchmark for a GPU runs through on the CPU, and needs torch, numpy, safetensors and pydantic alone."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from scripts.bench_gpu import EACH, FLOOR, STEPS, TORCHDISTILL, TUTORIAL, stated, table

CODE = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "numpy", "safetensors", "pydantic")
#: In each Python of the run, the children's too, what is named in ABSENT cannot be imported.
BLOCK = """
import os, sys

NAMES = set(os.environ["ABSENT"].split())

class Blind:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in NAMES else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
"""
TINY = """
import torch
from scripts.bench_gpu import Size, measure, stated, table
torch.set_num_threads(1)
rates = measure(Size(rows=64, epochs=2, rounds=1, teacher=8, student=8, batch=16), torch.device("cpu"))
print("\\n".join([*table(rates), *stated(rates)]))
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_requirements(names: tuple[str, ...]) -> set[str]:
    """These distributions, and what they require without extras."""
    found, waiting = set[str](), list(map(normal, names))
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system
            continue
        found.add(name)
        waiting += [normal(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in requires if "extra ==" not in one]
    return found


def absent() -> set[str]:
    """All modules that are installed here by something else."""
    there = with_requirements(NEEDED)
    by_module = metadata.packages_distributions().items()
    ours = {path.name for path in CODE.iterdir()}
    return {module for module, names in by_module if not there & set(map(normal, names))} - ours


def test_it_needs_little(tmp_path: Path) -> None:
    assert {"rich", "torchdistill", "fastapi", "sqlalchemy", "PIL"} & absent() >= {"rich", "fastapi"}
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{CODE}", "ABSENT": " ".join(absent()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", TINY], cwd=CODE, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    rows = [line.split("|")[1].strip() for line in lines[2:7]]
    assert {TUTORIAL, FLOOR, EACH, STEPS} <= set(rows)
    assert TORCHDISTILL not in rows
    assert sum("is not installed" in line for line in lines) == 2


def test_a_missed_ratio_is_told() -> None:
    rates = {EACH: [2.2], STEPS: [3.6], TORCHDISTILL: [1.0], FLOOR: [3.7]}
    assert not any("MISSED" in line for line in stated(rates))
    assert sum("MISSED" in line for line in stated({**rates, EACH: [2.0], FLOOR: [4.0]})) == 2
    assert table(rates)[2].endswith("| 2 | 2.20 | 0.59 |")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured() -> None:
    done = subprocess.run([sys.executable, "-m", "scripts.bench_gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing was measured" in done.stderr

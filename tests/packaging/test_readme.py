"""The README's walk-through, run as it is written: from nothing to a student.pth with curl, on a stack of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts.stack import Stack
from tests.packaging.images import ROOT

WALK = (ROOT / "README.md").read_text().split("## From nothing to student.pth with curl\n", 1)[1].split("\n## ", 1)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the walk-through finds in the project's folder, and a place for what it makes."""
    for name in ("core", "models", "worker"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("curl") is None, reason="the walk-through needs curl")
def test_the_walk_through(folder: Path, database: str, redis_url: str) -> None:
    up, *steps = re.findall(r"^```sh\n(.*?)^```$", WALK, flags=re.MULTILINE | re.DOTALL)
    assert up.strip() == "DISTILLERY_PORT=8000 make up"
    assert sum(step.count("http://127.0.0.1:8000") for step in steps) == 1
    with Stack(folder / "var", database_url=database, redis_url=redis_url, threads="1") as stack:
        script = "\n".join(steps).replace("http://127.0.0.1:8000", stack.url)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"status":"ready"') == 2
    assert '"status":"succeeded"' in done.stdout
    student = torch.load(folder / "student.pth", weights_only=True)
    assert {name: tuple(weight.shape) for name, weight in student.items()} == {
        "hidden.0.linear.weight": (24, 64),
        "hidden.0.linear.bias": (24,),
        "head.weight": (10, 24),
        "head.bias": (10,),
    }

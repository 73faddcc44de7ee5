"""The worker's doors: what they may import, and how a worker ends."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("door", ["worker.main", "worker.once", "worker.supervise", "worker.checks"])
def test_a_process_that_forks_or_supervises_holds_no_torch(door: str) -> None:
    code = f"import {door}, sys; print([name for name in ('torch', 'numpy', 'timm', 'onnx') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [[], ["jobs", "checks"], ["everything"]])
def test_once_says_how_it_is_used(arguments: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "worker.once", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "usage" in said.stderr

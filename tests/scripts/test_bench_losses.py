"""The measurement of losses: what it would catch, and that it runs."""

import subprocess
import sys
from pathlib import Path

import torch

from scripts.bench_losses import FLOAT, Measured, Sizes, _checks, _Watch

ROOT = Path(__file__).resolve().parents[2]
MEGA = 10**6


def took(peak: int) -> Measured:
    return Measured(1.0, 1.0, peak, 100 * MEGA, MEGA)


def test_a_loss_that_holds_more_than_it_may_is_named() -> None:
    assert list(_checks({"kd": took(MEGA), "nst": took(100 * MEGA)}, Sizes())) == []
    (line,) = _checks({"kd": took(MEGA), "nst": took(101 * MEGA)}, Sizes())
    assert line.startswith("nst takes 101 MB")


def test_angles_taken_at_once_are_named() -> None:
    triples = FLOAT * Sizes().B ** 3
    assert list(_checks({"kd": took(MEGA), "rkd": took(triples)}, Sizes())) == []
    (line,) = _checks({"kd": took(MEGA), "rkd": took(triples + 1)}, Sizes())
    assert "angles taken at once" in line


def test_what_was_held_in_between_counts_and_what_was_held_before_does_not() -> None:
    """A tensor of 100 MB that is gone again at the end."""
    before = torch.ones(10 * MEGA)
    with _Watch(torch.device("cpu")) as watch:
        torch.ones(25 * MEGA).sum()
    assert 95 * MEGA < watch.peak < 120 * MEGA
    with _Watch(torch.device("cpu")) as watch:
        before.sum()
    assert watch.peak < 5 * MEGA


def test_a_quick_look_measures_what_is_asked_for_beside_kd() -> None:
    command = [sys.executable, "-m", "scripts.bench_losses", "--small", "--check", "--only", "crd"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 losses, 0 checks failed" in done.stdout
    assert "crd bank" in done.stdout

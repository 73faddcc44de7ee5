"""A short run of the chaos harness: each family of faults once, against real processes, and the harness's own parts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.chaos.faults import FAULTS
from scripts.chaos.proxy import Connection, Order
from scripts.chaos.table import Outcome, Run

ROOT = Path(__file__).resolve().parents[2]
#: One of each family; `make chaos` takes them all. CHAOS_TRIALS asks for more of them, or for none.
FAMILIES = ("kill_worker", "freeze_supervisor", "postgres_crash", "redis_flush", "commit_unanswered", "cancel")
TRIALS = int(os.environ.get("CHAOS_TRIALS") or len(FAMILIES))


@pytest.mark.acceptance
@pytest.mark.skipif(TRIALS < 1, reason="CHAOS_TRIALS=0")
@pytest.mark.timeout(900)
def test_no_fault_loses_doubles_or_changes_a_job() -> None:
    chosen = [argument for family in FAMILIES for argument in ("--only", family)]
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.chaos", "--trials", str(TRIALS), "--seed", "7", "--minutes", "4", *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\*\*all\*\* \| [1-9]", ran.stdout), ran.stdout


def outcome(fault: str, *violations: tuple[str, str], recovery_s: float | None = 1.0) -> Outcome:
    return Outcome(0, fault, "training", True, 1, recovery_s, None, None, 2, 6.0, list(violations))


def test_the_table_counts_what_was_violated(tmp_path: Path) -> None:
    run = Run("make chaos", 1, [outcome("drain"), outcome("drain", ("lost", "it"), ("key", "it")), outcome("cancel")])
    assert run.num_violations == 2
    assert "| drain | 2 | 2 | 1 | 0 | 0 | 0 | 0 | 1 | 1.0 / 1.0 / 1.0 |" in run.text()
    assert "3 trials with 3 jobs in 0 minutes, 1 with a violation." in run.text()
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- chaos: begin -->\nold\n<!-- chaos: end -->\nafter\n")
    run.write(page)
    assert page.read_text().startswith("before\n<!-- chaos: begin -->\n")
    assert "old" not in page.read_text()
    assert page.read_text().endswith("<!-- chaos: end -->\nafter\n")


def test_three_hundred_good_trials_bound_the_share_below_one_percent() -> None:
    assert "below 0.99 % at 95 % confidence" in Run("make chaos", 1, [outcome("drain")] * 300).text()


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.__doc__ for fault in FAULTS.values())
    assert set(FAMILIES) <= set(FAULTS)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def test_the_proxy_cuts_at_the_commit_of_a_prepared_insert_and_at_no_other() -> None:
    order = Order("artifacts")
    connection = Connection(order)
    started = (8).to_bytes(4, "big") + b"\0\3\0\0"
    prepared = message(b"P", b"s1\0INSERT INTO artifacts (name) VALUES ($1)\0\0\0")
    bound = message(b"B", b"\0s1\0\0\0")
    commit, rollback = message(b"Q", b"COMMIT\0"), message(b"Q", b"ROLLBACK\0")
    assert not connection.heard(started + prepared + commit)
    assert not connection.heard(bound + rollback)
    assert not connection.heard(commit), "what was rolled back is not committed"
    for part in (bound[:3], bound[3:] + commit[:5]):
        assert not connection.heard(part)
    assert connection.heard(commit[5:])
    order.table = None
    assert not connection.heard(bound + commit)

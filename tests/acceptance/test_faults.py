"""Killed, cancelled and restarted in the middle of a job, with real processes."""

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from scripts.client import Client
from scripts.stack import Stack
from tests.acceptance.processes import (
    CHECKPOINT_S,
    LEASE_S,
    SWEEP_S,
    engine_of,
    eventually,
    is_running,
    parent_of,
    seen,
)

pytestmark = pytest.mark.acceptance

ENDLESS = 10_000
#: Two looks of a supervisor and an upload, on a busy machine.
NOTICED_S = 2.5


def start(client: Client, ready: dict[str, str], epochs: int) -> str:
    body = {**ready, "student": {"type": "mlp", "hidden": [16]}, "loss": {"type": "kd", "T": 4}}
    train = {"epochs": epochs, "batch_size": 64, "control": False}
    return str(client.post("/jobs", {**body, "train": train})["id"])


def events_of(client: Client, job_id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = client.get(f"/jobs/{job_id}/events?limit=1000")["items"]
    return events


def wait_for(client: Client, job_id: str, type_: str) -> None:
    eventually(lambda: seen(events_of(client, job_id), type_))


def test_cancel_ends_the_process_within_five_seconds(client: Client, ready: dict[str, str]) -> None:
    job_id = start(client, ready, ENDLESS)
    wait_for(client, job_id, "progress")
    pid = engine_of(job_id)
    assert pid is not None
    asked_at = time.monotonic()
    client.post(f"/jobs/{job_id}/cancel")
    job = client.ended(job_id)
    assert time.monotonic() - asked_at < 5
    assert job["status"] == "cancelled"
    assert not is_running(pid)
    assert job["result"]["partial"] is True, "the student so far is kept and says so"


def test_a_killed_supervisor_takes_its_child_along_and_loses_no_job(client: Client, ready: dict[str, str]) -> None:
    job_id = start(client, ready, 800)
    wait_for(client, job_id, "checkpoint")
    pid = engine_of(job_id)
    assert pid is not None
    os.kill(supervisor_of(client, job_id), signal.SIGKILL)
    killed_at = time.monotonic()
    eventually(lambda: not is_running(pid), 2)
    eventually(lambda: len(seen(events_of(client, job_id), "started")) == 2, LEASE_S + SWEEP_S + 10)
    assert time.monotonic() - killed_at < LEASE_S + SWEEP_S + 10
    job = client.ended(job_id)
    events = events_of(client, job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    first, second = ([e["data"] for e in events if e["attempt"] == n and e["type"] == "progress"] for n in (1, 2))
    resumed = [data["code"] for data in seen(events, "notice")]
    assert "resumed" in resumed, "it went on from a checkpoint"
    assert second[0]["step"] > 1
    assert first[-1]["step"] > 0
    assert lost_s(events) < CHECKPOINT_S + NOTICED_S, "no more than one interval, and the time it takes to be noticed"


def supervisor_of(client: Client, job_id: str) -> int:
    """The process that claimed the job, by the name that it claimed it under: host:pid:device."""
    worker: str = seen(events_of(client, job_id), "started")[-1]["worker"]
    return int(worker.split(":")[1])


def test_a_killed_spare_costs_a_job_no_more_than_what_its_child_had_not_kept(
    client: Client, ready: dict[str, str]
) -> None:
    job_id = start(client, ready, 800)
    wait_for(client, job_id, "checkpoint")
    pid = engine_of(job_id)
    assert pid is not None
    spare = parent_of(pid)
    assert b"worker.forker" in Path(f"/proc/{spare}/cmdline").read_bytes()
    os.kill(spare, signal.SIGKILL)
    eventually(lambda: not is_running(pid), 2)
    job = client.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def lost_s(events: list[dict[str, Any]]) -> float:
    """Seconds of the first attempt's work after the last checkpoint that was kept of it."""
    first = [(event["type"], datetime.fromisoformat(event["at"])) for event in events if event["attempt"] == 1]
    kept = max(at for type_, at in first if type_ == "checkpoint")
    return max((at - kept).total_seconds() for type_, at in first if type_ in {"progress", "metrics", "checkpoint"})


def test_a_restarted_worker_gives_its_job_back_and_goes_on(stack: Stack, client: Client, ready: dict[str, str]) -> None:
    job_id = start(client, ready, 600)
    wait_for(client, job_id, "progress")
    os.kill(stack.worker_pid, signal.SIGTERM)
    revived = eventually(stack.revive)
    assert revived == ["worker"]
    requeued = seen(events_of(client, job_id), "requeued")
    assert [data["reason"] for data in requeued] == ["drained"]
    job = client.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def test_pause_frees_the_device_and_resume_goes_on(client: Client, ready: dict[str, str]) -> None:
    job_id = start(client, ready, 600)
    wait_for(client, job_id, "progress")
    client.post(f"/jobs/{job_id}/pause")
    eventually(lambda: client.get(f"/jobs/{job_id}")["status"] == "paused")
    assert engine_of(job_id) is None
    client.post(f"/jobs/{job_id}/resume")
    assert client.ended(job_id)["status"] == "succeeded"

"""Forgotten work is found: by messages sent again, and without any message where Redis is dead."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from core.queue import RUN_JOB
from core.settings import settings
from models.status import JobStatus
from tests.worker.rows import Submit, claim, job
from worker.patrol import Overdue, Patrol


@pytest.fixture
def fast_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_SWEEP_S", "0.2")
    monkeypatch.setenv("DISTILLERY_REQUEUE_S", "1")
    settings.cache_clear()


def wait_for(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def messages(url: str) -> list[bytes]:
    with redis.Redis.from_url(url) as client:
        found: list[bytes] = client.lrange("distillery:distillery", 0, -1)
    return found


def test_a_message_that_was_lost_is_sent_again(submit: Submit, fast_rounds: None, redis_url: str) -> None:
    job_id = submit()
    patrol = Patrol()
    patrol.start()
    try:
        wait_for(lambda: messages(redis_url))
    finally:
        patrol.stop()
    sent = messages(redis_url)[0]
    assert RUN_JOB.encode() in sent
    assert job(job_id).status is JobStatus.QUEUED


def test_the_job_of_a_dead_worker_goes_back_to_the_queue(
    submit: Submit, fast_rounds: None, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLERY_LEASE_S", "0.1")
    monkeypatch.setenv("DISTILLERY_HEARTBEAT_S", "0.01")
    settings.cache_clear()
    job_id = submit()
    claim(job_id)
    patrol = Patrol()
    patrol.start()
    try:
        wait_for(lambda: job(job_id).status is JobStatus.QUEUED)
    finally:
        patrol.stop()


def test_messages_are_not_repeated_before_their_time(fast_rounds: None) -> None:
    overdue = Overdue()
    assert overdue.look(["a", "b"]) == (["a", "b"], False)
    assert overdue.look(["a", "b"]) == ([], False)
    time.sleep(settings().requeue_s)
    assert overdue.look(["a"]) == (["a"], True)
    assert overdue.look([]) == ([], False)


def test_without_redis_a_job_only_comes_later(
    submit: Submit, fast_rounds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    dead = {"DISTILLERY_REDIS_URL": f"unix://{tmp_path}/nobody.sock", "DISTILLERY_DEVICES": "cpu"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "worker.main"],
        cwd=Path(__file__).parents[2],
        env=os.environ | dead,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # Its files hold no weights, so the engine refuses it; what counts is that somebody took it.
        wait_for(lambda: job(job_id).status is JobStatus.FAILED, 60)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0

"""Messages on a real Redis: they carry an id and nothing else, and never make their sender wait or fail."""

import base64
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import kombu.pools
import pytest
import redis

from core import queue
from core.embedded_redis import Redis
from core.settings import settings


@pytest.fixture(autouse=True)
def _own_connections() -> Iterator[None]:
    """Celery keeps its connections for the process, and here each test may have another server."""

    def forget() -> None:
        kombu.pools.reset()  # type: ignore[no-untyped-call]
        queue.app.close()
        queue.app.amqp._producer_pool = None

    forget()
    yield
    forget()


def messages(url: str) -> list[tuple[str, list[str]]]:
    """(task, arguments) of what waits in the queue."""
    with redis.Redis.from_url(url) as client:
        raw = [json.loads(each) for each in reversed(client.lrange("distillery:distillery", 0, -1))]
    return [(each["headers"]["task"], json.loads(base64.b64decode(each["body"]))[0]) for each in raw]


def test_a_message_names_its_task_and_carries_an_id(redis_url: str) -> None:
    queue.wake_job("job_A")
    queue.wake_check("teachers", "tch_A")
    assert messages(redis_url) == [("distillery.run_job", ["job_A"]), ("distillery.check", ["teachers", "tch_A"])]
    queue.ping()


def test_only_json_is_read_and_nothing_comes_back_by_itself() -> None:
    conf = queue.app.conf
    assert list(conf.accept_content) == [conf.task_serializer] == ["json"]
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.task_ignore_result) == (False, False, True)
    assert conf.result_backend is None
    assert conf.worker_prefetch_multiplier == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:secret@host:6380/2", "redis://user:secret@host:6380/2"),
        ("rediss://host", "rediss://host"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
    ],
)
def test_addresses_in_the_words_of_celery(monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    monkeypatch.setenv("DISTILLERY_REDIS_URL", url)
    settings.cache_clear()
    assert queue.broker_url() == expected


def test_without_an_address_it_says_what_to_set(caplog: pytest.LogCaptureFixture) -> None:
    queue.wake_job("job_A")
    assert "DISTILLERY_REDIS_URL" in caplog.text


def test_a_redis_that_is_away_costs_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Redis(tmp_path / "redis", tmp_path)
    url = server.start()
    monkeypatch.setenv("DISTILLERY_REDIS_URL", url)
    settings.cache_clear()
    try:
        queue.wake_job("job_A")
        server.stop()
        started = time.monotonic()
        with caplog.at_level(logging.WARNING):
            queue.wake_job("job_B")
        assert time.monotonic() - started < 2
        assert "of=job_B" in caplog.text
        with pytest.raises(redis.ConnectionError):
            queue.ping()
        server.start()
        queue.wake_job("job_C")
        assert messages(url) == [("distillery.run_job", ["job_A"]), ("distillery.run_job", ["job_C"])]
    finally:
        server.stop()


def test_a_redis_that_hangs_is_given_up_after_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Redis(tmp_path / "redis", tmp_path)
    monkeypatch.setenv("DISTILLERY_REDIS_URL", server.start())
    settings.cache_clear()
    pid = int((tmp_path / "redis" / "redis.pid").read_text())
    try:
        queue.wake_job("job_A")
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        queue.wake_job("job_B")
        assert time.monotonic() - started < 6
        assert "of=job_B" in caplog.text
    finally:
        os.kill(pid, signal.SIGCONT)
        server.stop()

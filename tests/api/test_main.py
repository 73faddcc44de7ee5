"""The door: a free port, an address that a parent can find, no open port by accident, and a quick, clean end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from api.main import main, refuse_open_host
from core import db, keys
from core.settings import settings
from models.roles import Role
from tests.api.made import Made, Server

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "api.main"]


@contextmanager
def started() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it wrote down."""
    process = subprocess.Popen(COMMAND, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
    address = settings().data_dir / "api.url"
    try:
        deadline = time.monotonic() + 30
        while not address.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, address.read_text()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def environment(database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings for a process of its own."""
    monkeypatch.setenv("DISTILLERY_HOST", "127.0.0.1")
    monkeypatch.setenv("DISTILLERY_PORT", "0")


def test_it_answers_where_it_says_and_leaves_with_open_streams(environment: None, made: Made) -> None:
    job = made.job()
    with started() as (process, url):
        assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
        with httpx.stream("GET", f"{url}/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert "event: queued" in list(lines)  # the stream is ended, not cut off
        assert process.wait(timeout=10) in {0, -signal.SIGTERM}
        assert process.stderr is not None
        assert f"{url}/docs" in process.stderr.read()
        assert not (settings().data_dir / "api.url").exists()


def asked(url: str, request: str) -> socket.socket:
    """A connection on which so much of a request has been sent."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(request.replace("\n", "\r\n").encode())
    return connection


def test_it_ends_in_time_whatever_is_open(environment: None, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream, an upload and a part that stall, a connection that asks nothing, and a thread that waits for a lock."""
    monkeypatch.setenv("DISTILLERY_SHUTDOWN_S", "2")
    settings.cache_clear()
    job = made.job()
    host = "Host: 127.0.0.1\n"
    with started() as (process, url), ExitStack() as open_:
        tus = {"Tus-Resumable": "1.0.0"}
        path = httpx.post(f"{url}/uploads/resumable", headers={**tus, "Upload-Length": "6"}).headers["location"]
        headers = {**tus, "Upload-Offset": 0, "Content-Length": 6, "Content-Type": "application/offset+octet-stream"}
        part = "\n".join(f"{name}: {value}" for name, value in headers.items())
        for request in (
            f"GET /jobs/{job}/events HTTP/1.1\n{host}Accept: text/event-stream\n\n",
            f"POST /uploads?filename=a HTTP/1.1\n{host}Content-Length: 9\n\nabc",
            f"PATCH {path} HTTP/1.1\n{host}{part}\n\nabc",
            "",
        ):
            open_.enter_context(asked(url, request))
        locked = open_.enter_context(db.session())
        locked.execute(text("LOCK TABLE teachers IN ACCESS EXCLUSIVE MODE"))
        open_.enter_context(asked(url, f"GET /teachers HTTP/1.1\n{host}\n"))
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while not locked.scalar(waiting):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(timeout=10)
        assert time.monotonic() - began < 3
    with started() as (_, url):
        assert httpx.head(f"{url}{path}", headers=tus).headers["upload-offset"] == "3", "what had come is counted"


def test_a_thread_that_never_ends_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_SHUTDOWN_S", "0.3")
    program = "import threading; from api import ending; ending.end_by_force(); threading.Event().wait()"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "did not end within 0.3 s" in ended.stderr


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("HOST", "0.0.0.0", "the service has no keys"),
        ("HOST", "::", "the service has no keys"),
        ("HOST", "192.0.2.1", "the service has no keys"),
        ("HOST", "example.org", "the service has no keys"),
        ("PORT", "taken", "Set DISTILLERY_PORT"),
    ],
)
def test_it_says_plainly_why_it_does_not_listen(
    server: Server, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"DISTILLERY_{variable}", str(server.port) if value == "taken" else value)
    settings.cache_clear()
    with pytest.raises(SystemExit, match=reason):
        main()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_has_several_names(host: str) -> None:
    refuse_open_host(host)


def test_with_a_key_other_machines_may_reach_it(database: str) -> None:
    with pytest.raises(SystemExit, match="make key"):
        refuse_open_host("0.0.0.0")
    with db.session() as session:
        keys.make(session, "vision", Role.USER)
    refuse_open_host("0.0.0.0")


def test_a_database_that_is_away_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    settings.cache_clear()
    db.engine.cache_clear()
    with pytest.raises(SystemExit, match="database"):
        refuse_open_host("0.0.0.0")
    db.engine.cache_clear()

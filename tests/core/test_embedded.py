"""The servers from wheels: from any folder, again and again, side by side, and never left behind."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from core.embedded import Embedded
from core.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("embedded_run.py")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: that is closed to the user that PostgreSQL has where root runs the tests."""
    made = Path(tempfile.mkdtemp(prefix="distillery-embedded-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that was used before; making the data takes longest."""
    made = Path(tempfile.mkdtemp(prefix="distillery-embedded-"))
    with Embedded(made) as (database_url, _), connected(database_url) as database:
        database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    yield made
    shutil.rmtree(made)


def connected(database_url: str) -> psycopg.Connection[Any]:
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


@contextmanager
def process(folder: Path, *more: str, **identity: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that runs the servers of the folder, and what it says of them."""
    started = subprocess.Popen(
        [sys.executable, SCRIPT, folder, *more],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        **identity,
    )
    assert started.stdout is not None
    with started.stdout:
        try:
            yield started, json.loads(started.stdout.readline())
        finally:
            started.terminate()
            started.wait(30)
            for pid_file in (folder / "postgres" / "postmaster.pid", folder / "redis" / "redis.pid"):
                if pid_file.exists() and "orphan" in more:
                    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], patience_s: float = 10.0) -> None:
    until = time.monotonic() + patience_s
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < until, "a server outlived the process that started it"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["a b, 'c' \"d\" %20 é$x;", "x" * 120 + "/" + "y" * 120])
def test_any_folder_twice_in_a_row_with_what_was_stored(folder: Path, name: str) -> None:
    for run in range(2):
        with Embedded(folder / name) as (database_url, redis_url), connected(database_url) as database:
            store = redis.Redis.from_url(redis_url)
            if run == 0:
                database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
                store.set("kept", "42")
            assert database.execute("SELECT answer FROM kept").fetchone() == (42,)
            assert store.get("kept") == b"42"
            store.close()


def test_the_servers_keep_what_they_are_told(home: Path) -> None:
    with Embedded(home) as (database_url, redis_url):
        with connected(database_url) as database, redis.Redis.from_url(redis_url) as store:
            for name, value in {"fsync": "on", "listen_addresses": "", "server_encoding": "UTF8"}.items():
                assert database.execute(f"SHOW {name}").fetchone() == (value,)
            config = store.config_get("*")
            assert isinstance(config, dict)
            assert (config["appendonly"], config["maxmemory-policy"], config["port"]) == ("yes", "noeviction", "0")
            version = store.info("server")["redis_version"]
            assert int(version.split(".")[0]) >= 6
        socket = Path(make_url(database_url).query["host"])  # type: ignore[arg-type]
        assert socket.stat().st_mode & 0o077 == 0, "nobody else on this machine may connect"


def test_two_copies_run_side_by_side(home: Path, folder: Path) -> None:
    with Embedded(home) as (first, _), Embedded(folder) as (second, _):
        assert first != second
        with connected(first) as database:
            assert database.execute("SELECT answer FROM kept").fetchone() == (42,)
        with connected(second) as database:
            assert database.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_a_second_one_in_the_same_folder_is_refused(home: Path) -> None:
    with Embedded(home) as (database_url, _):
        with pytest.raises(Unavailable, match=f"Process {os.getpid()} .*DISTILLERY_DATA_DIR"):
            Embedded(home).start()
        connected(database_url).close()


def test_stopping_twice_is_stopping_once(home: Path) -> None:
    servers = Embedded(home)
    servers.start()
    servers.stop()
    servers.stop()
    Embedded(home / "never started").stop()


def test_the_servers_end_with_their_process(home: Path) -> None:
    with process(home) as (started, told):
        started.terminate()
        assert started.wait(30) == 0
        assert not any(is_alive(pid) for pid in told["pids"])


def test_a_killed_process_takes_its_servers_along_and_the_next_one_starts(home: Path) -> None:
    with process(home) as (started, told):
        started.kill()
        started.wait(30)
        with Embedded(home) as (database_url, _):
            assert not any(is_alive(pid) for pid in told["pids"])
            with connected(database_url) as database:
                assert database.execute("SELECT answer FROM kept").fetchone() == (42,)
    wait_until_gone(told["pids"])


def test_servers_that_were_left_behind_are_found_and_ended(home: Path) -> None:
    with process(home, "orphan") as (started, told):
        started.kill()
        started.wait(30)
        assert all(is_alive(pid) for pid in told["pids"])
        with Embedded(home) as (database_url, _):
            assert not any(is_alive(pid) for pid in told["pids"])
            with connected(database_url) as database:
                assert database.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (home / "redis" / "redis.pid").write_text(str(stranger.pid))
        with Embedded(home):
            assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    configuration = home / "postgres" / "postgresql.conf"
    good = configuration.read_text()
    configuration.write_text("no_such_setting = 1\n")
    try:
        with pytest.raises(Unavailable, match="no_such_setting"):
            Embedded(home).start()
    finally:
        configuration.write_text(good)
    assert not (home / "run").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else; the others are that already")
def test_an_ordinary_user_runs_it_and_root_after_them(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    identity: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    if not _can_run_python(identity):
        pytest.skip("this Python, or what is installed for it, is closed to an ordinary user")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    with process(folder, **identity) as (started, told):
        assert Path(f"/proc/{told['pids'][0]}").stat().st_uid == nobody.pw_uid
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0
    with Embedded(folder) as (database_url, _):
        connected(database_url).close()
    with process(folder, **identity) as (_, told):
        assert told["pids"]


def _can_run_python(identity: dict[str, Any]) -> bool:
    tried = [sys.executable, "-c", "import core.embedded"]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    try:
        return subprocess.run(tried, cwd=ROOT, env=path, check=False, capture_output=True, **identity).returncode == 0
    except PermissionError:
        return False

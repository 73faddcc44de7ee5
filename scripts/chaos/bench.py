"""Everything that the trials share: real servers, the API, two workers, a teacher, data, and the reference students."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from core.embedded_postgres import NAME, Postgres
from core.embedded_redis import Redis
from scripts.chaos.disks import Disks
from scripts.chaos.follower import Follower, fault_of
from scripts.chaos.hosts import Hosts
from scripts.chaos.processes import wait_until
from scripts.chaos.work import JOBS, TEACHER, Json, make_files
from scripts.client import Client
from scripts.stack import Stack

LEASE_S, SWEEP_S, CHECKPOINT_S = 3.0, 0.5, 0.3
#: Times of a second where a service has times of a minute.
SETTINGS = {
    "lease_s": f"{LEASE_S}",
    "heartbeat_s": "0.6",
    "watch_s": "0.05",
    "sweep_s": f"{SWEEP_S}",
    "requeue_s": "1.5",
    "retry_wait_s": "0.2",
    "cancel_grace_s": "3",
    "drain_grace_s": "8",
    "stall_s": "60",
    "checkpoint_s": f"{CHECKPOINT_S}",
    # The collector works all the time, and may remove nothing that is needed.
    "collect_s": "40",
    "keep_s": "45",
    "devices": "cpu",
    "threads": "1",
    "min_free_bytes": "1000000",
}
_SOCKET = ".s.PGSQL.5432"
_PATIENCE_S = 90.0


class Bench:
    """`with Bench(folder) as bench`: the service runs; `reference` holds the SHA-256 of each undisturbed student."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: The disk that the store lies on, and the store.
        self.store_disk = folder / "store"
        self.store = self.store_disk / "files"
        self.disks = Disks()
        self.sockets, self.front = folder / "s", folder / "f"
        self.postgres = Postgres(folder / "postgres", self.sockets)
        self.redis = Redis(folder / "redis", self.sockets)
        #: Answers of the API that are no good, since the last look.
        self.faults: list[str] = []
        self.reference: dict[str, str] = {}
        #: Whether the last proxy found the COMMIT that it was told to cut at.
        self.has_cut = False
        self._open = ExitStack()
        self._inputs: Json = {}

    def __enter__(self) -> "Bench":
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self) -> None:
        for folder in (self.sockets, self.front):
            folder.mkdir(mode=0o700)
        self.disks.put(self.store_disk, 128)
        self.disks.put(self.folder / "one" / "work", 64)
        self.disks.put(self.folder / "two" / "work", 64)
        self._open.callback(self.postgres.stop)
        self.postgres.start()
        self._open.callback(self.redis.stop)
        self.redis_url = self.redis.start()
        self.route(self.sockets / _SOCKET)
        self.database_url = f"postgresql+psycopg://postgres@/{NAME}?host={self.front}"
        self.stack = Stack(
            self.folder / "one",
            database_url=self.database_url,
            redis_url=self.redis_url,
            storage_url=f"file://{self.store}",
            **SETTINGS,
        )
        # This process writes rows too, as a zombie of which the service must not take notice.
        os.environ.update({name: text for name, text in self.stack.env.items() if name.startswith("DISTILLERY_")})
        self._open.enter_context(self.stack)
        self.hosts = Hosts(self.stack, self.folder / "two")
        self._open.callback(self.hosts.stop)
        self.hosts.revive()
        self.http = self._open.enter_context(httpx.Client(base_url=self.stack.url, timeout=15, trust_env=False))
        self._hand_in()
        for name in JOBS:
            self.reference[name] = self._undisturbed(name)

    def _hand_in(self) -> None:
        teacher, data = make_files(self.folder)
        with Client(self.stack.url) as client:
            given = client.teacher("digits teacher", teacher, TEACHER)
            rows = client.dataset("digits", data, "image_classification")
            self._inputs = {"teacher": client.ready(given)["id"], "dataset": client.ready(rows)["id"]}

    def _undisturbed(self, name: str) -> str:
        job = self.ask("POST", "/jobs", self.body(name, "reference")).json()
        follower = Follower(self.stack.url, job["id"])
        if not wait_until(lambda: follower.is_done, _PATIENCE_S):
            raise TimeoutError(f"the reference run of {name} does not end; see {self.stack.log('worker')}")
        return self.student_sha256(job["id"]) or self._no_reference(job["id"])

    def _no_reference(self, job_id: str) -> str:
        raise RuntimeError(
            f"the reference run failed: {json.dumps(self.ask('GET', f'/jobs/{job_id}').json()['error'])}"
        )

    # --- the user's side ---

    def body(self, name: str, label: str) -> Json:
        """The job of that name; many attempts, for some faults cost several."""
        limits = {"max_attempts": 20, "max_seconds": 600}
        return {**JOBS[name], **self._inputs, "limits": limits, "labels": {"trial": label}}

    def ask(self, method: str, path: str, body: Json | None = None, **headers: str) -> httpx.Response:
        """The answer, asked for until it is neither 5xx nor about an equal request in flight, as a good client does."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = self.http.request(method, path, json=body, headers=headers)
                if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    self.faults += fault_of(answer)
                elif not _is_in_flight(answer):
                    return answer
            except httpx.TransportError:
                pass
            if time.monotonic() > until:
                raise TimeoutError(f"{method} {path}: no answer for {_PATIENCE_S:.0f} s")
            # What is started ends with the thread that started it, so only the first one may.
            if threading.current_thread() is threading.main_thread():
                self.hosts.revive()
            time.sleep(0.1)

    def student_sha256(self, job_id: str) -> str | None:
        """What the service says of the job's student."""
        items = self.ask("GET", f"/jobs/{job_id}/artifacts").json()["items"]
        return next((item["sha256"] for item in items if item["name"] == "student.pth"), None)

    # --- the operator's side ---

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows read past the service."""
        for attempt in (1, 2):
            try:
                with self._connect() as connection:
                    return connection.execute(sql.encode(), values).fetchall()
            except psycopg.OperationalError:
                if attempt == 2:
                    raise
                time.sleep(0.5)
        raise AssertionError

    def cut_all(self) -> None:
        """End every connection of the service to the database."""
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def signal_postgres(self, number: signal.Signals) -> None:
        """To the server's parent process; it has ended when this returns."""
        pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, number)
        self.postgres.stop()

    def redis_client(self) -> "redis.Redis":
        """Past the service."""
        return redis.Redis.from_url(self.redis_url, socket_timeout=5)

    def route(self, target: Path) -> None:
        """Where the service's database connections go from now on."""
        fresh = self.front / "fresh"
        fresh.symlink_to(target)
        fresh.replace(self.front / _SOCKET)

    @contextmanager
    def proxied(self) -> Iterator["subprocess.Popen[str]"]:
        """For the time of the block the service reaches PostgreSQL through scripts.chaos.proxy."""
        listen = self.front / "proxy"
        listen.unlink(missing_ok=True)
        process = _proxy(listen, self.sockets / _SOCKET)
        try:
            self.route(listen)
            self.cut_all()
            yield process
        finally:
            self.route(self.sockets / _SOCKET)
            process.kill()
            self.has_cut = "cut" in process.communicate()[0]

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(host=str(self.sockets), user="postgres", dbname=NAME, autocommit=True, connect_timeout=5)


def _is_in_flight(answer: httpx.Response) -> bool:
    return answer.status_code == httpx.codes.CONFLICT and answer.json()["code"] == "request_in_flight"


def _proxy(listen: Path, target: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.chaos.proxy", str(listen), str(target)],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError("the proxy did not start")
    return process

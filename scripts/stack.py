"""The whole service as real processes: PostgreSQL and Redis, the API and one worker, in one data folder.

`make up`, the demo, the acceptance runs and tests/acceptance all start it here. Nothing that it starts outlives it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from core import child
from core.embedded import Embedded
from core.errors import Unavailable
from worker import launch

_REPOSITORY = Path(__file__).resolve().parents[1]
_START_S = 90.0
#: Longer than a worker takes to let its job leave a checkpoint.
_STOP_S = 45.0


class AlreadyRunning(Exception):
    """Another process runs the service in this data folder."""


class Stack:
    """`with Stack(folder) as stack: ... stack.url`. Settings by name in lower case: `Stack(folder, lease_s="5")`.

    A database or a Redis that is not named in the settings or the environment is started here.
    """

    def __init__(self, data_dir: Path | str, **settings: str) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.url = ""
        self._env = os.environ | {f"DISTILLERY_{name.upper()}": value for name, value in settings.items()}
        self._env["DISTILLERY_DATA_DIR"] = str(self.data_dir)
        self._lock: IO[str] | None = None
        self._embedded: Embedded | None = None
        self._api: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment of its processes: whoever starts one beside them needs it."""
        return dict(self._env)

    @property
    def worker_pid(self) -> int:
        """The parent of the worker's processes."""
        assert self._worker is not None, "the stack runs"
        return self._worker.pid

    def start(self) -> None:
        """Start everything and wait until it answers. Raises AlreadyRunning, and Unavailable with the reason."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._start_servers()
            self._migrate()
            (self.data_dir / "api.url").unlink(missing_ok=True)
            self._api = self._spawn("api.main", "api")
            self._worker = self._spawn("worker.main", "worker")
            self.url = self._wait_for_url()
        except BaseException:
            self.stop()
            raise
        self._note(f"{os.getpid()} {self.url}")

    def stop(self) -> None:
        """Stop everything in order: the worker and the API let go of their work first. May be called twice."""
        started = [process for process in (self._worker, self._api) if process is not None]
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in started:
            _end(process)
        self._worker = self._api = None
        if self._embedded is not None:
            self._embedded.stop()
            self._embedded = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def revive(self) -> list[str]:
        """Start what has ended by itself anew; the names of what that was."""
        dead = []
        if self._api is not None and self._api.poll() is not None:
            dead.append("api")
            # The address that users have must stay theirs.
            self._env["DISTILLERY_PORT"] = self.url.rpartition(":")[2]
            self._api = self._spawn("api.main", "api")
        if self._worker is not None and self._worker.poll() is not None:
            dead.append("worker")
            self._worker = self._spawn("worker.main", "worker")
        return dead

    def restart_api(self, **settings: str) -> None:
        """End the API and start it anew with other settings; it may have another address then.

        A worker that has been ended stays so.
        """
        assert self._api is not None, "the stack runs"
        if self._worker is not None and self._worker.poll() is not None:
            self._worker = None
        self._api.send_signal(signal.SIGTERM)
        _end(self._api)
        self._env |= {f"DISTILLERY_{name.upper()}": value for name, value in settings.items()}
        (self.data_dir / "api.url").unlink(missing_ok=True)
        self._api = self._spawn("api.main", "api")
        self.url = self._wait_for_url()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_lock(self) -> None:
        lock = (self.data_dir / "stack.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid, _, url = lock.read().partition(" ")
            lock.close()
            raise AlreadyRunning(
                f"Distillery already runs in {self.data_dir}"
                + (f" (process {pid}): {url}/docs" if url else " or is just starting")
                + "\nStop it with Ctrl-C where it runs, or set DISTILLERY_DATA_DIR to another folder."
            ) from None
        self._lock = lock
        self._note("")

    def _note(self, text: str) -> None:
        assert self._lock is not None, "taken before"
        self._lock.truncate(0)
        self._lock.write(text)
        self._lock.flush()

    def _start_servers(self) -> None:
        if self._env.get("DISTILLERY_DATABASE_URL") and self._env.get("DISTILLERY_REDIS_URL"):
            return
        self._embedded = Embedded(self.data_dir)
        database_url, redis_url = self._embedded.start()
        for name, url in (("DISTILLERY_DATABASE_URL", database_url), ("DISTILLERY_REDIS_URL", redis_url)):
            self._env[name] = self._env.get(name) or url

    def _migrate(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "core.db", "upgrade"],
            cwd=_REPOSITORY,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"The database could not be brought up to date:\n{done.stderr[-2000:]}")

    def _spawn(self, module: str, name: str) -> subprocess.Popen[bytes]:
        """Start a part in a session of its own: Ctrl-C reaches us alone, and we stop the parts in order."""
        with self.log(name).open("ab") as output:
            return subprocess.Popen(
                launch.command([sys.executable, "-m", module]),
                cwd=_REPOSITORY,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Where `api` or `worker` writes its log."""
        folder = self.data_dir / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def _wait_for_url(self) -> str:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            for name, process in (("api", self._api), ("worker", self._worker)):
                if process is not None and process.poll() is not None:
                    raise Unavailable(
                        f"The {name} ended with {process.returncode} as it started. {child.tail(self.log(name))}"
                    )
            if (url := self._answering()) is not None:
                return url
            time.sleep(0.1)
        raise Unavailable(f"The API did not answer within {_START_S:.0f} s. {child.tail(self.log('api'))}")

    def _answering(self) -> str | None:
        path = self.data_dir / "api.url"
        if not path.exists():
            return None
        url = path.read_text().strip()
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == httpx.codes.OK:
                return url
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

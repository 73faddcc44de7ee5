"""A real PostgreSQL and a real Redis from wheels, for a machine that has neither: data and logs under one folder.

Both end with the process that started them, also where it is killed. Many copies run side by side, each in its own
data folder; a second one in the same folder is refused.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from core.embedded_postgres import Postgres
from core.embedded_redis import Redis
from core.errors import Unavailable

#: A Unix socket's path has room for 107 bytes; the longest name that goes below the folder is `/.s.PGSQL.5432.lock`.
_LONGEST_SOCKET_DIR = 107 - len("/.s.PGSQL.5432.lock")


class InUse(Unavailable):
    """Another process runs the servers of the folder."""


class Embedded:
    """Both servers: `start` and `stop`, or `with Embedded(folder) as (database_url, redis_url)`.

    Start it from a thread that lives as long as the servers should.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self.data_dir = Path(data_dir).resolve()
        self._sockets = _socket_dir(self.data_dir)
        self._postgres = Postgres(self.data_dir / "postgres", self._sockets)
        self._redis = Redis(self.data_dir / "redis", self._sockets)
        self._lock: IO[str] | None = None

    def start(self) -> tuple[str, str]:
        """Start both; return (database_url, redis_url). Raises Unavailable with the reason and the remedy."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _hold(self.data_dir / "embedded.lock")
        try:
            _make_private(self._sockets)
            return self._postgres.start(), self._redis.start()
        except BaseException:
            self.stop()
            raise

    @property
    def database_url(self) -> str:
        """Where the database is, also where another process has started it."""
        return self._postgres.url

    def stop(self) -> None:
        """Stop both cleanly; may be called twice."""
        if self._lock is None:
            return
        self._redis.stop()
        self._postgres.stop()
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._lock.close()
        self._lock = None

    def __enter__(self) -> tuple[str, str]:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _hold(path: Path) -> IO[str]:
    """The folder's lock, with our pid in it for whoever is refused."""
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise InUse(
            f"Process {holder} already runs the embedded servers in {path.parent}: stop it, or set DISTILLERY_DATA_DIR "
            "to another folder.",
            code="embedded",
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _socket_dir(data_dir: Path) -> Path:
    """A folder for sockets: in the data folder, or a short one where that path does not suit a socket.

    The short one is named by the data folder, so that a run finds what a killed one left.
    """
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    name = f"distillery-{os.geteuid()}-{digest}"
    fitting = (folder for folder in (data_dir / "run", Path(tempfile.gettempdir()) / name) if _suits_a_socket(folder))
    return next(fitting, Path("/tmp") / name)  # noqa: S108 - it is made private, or refused


def _suits_a_socket(folder: Path) -> bool:
    """Short enough; and plain, for addresses give commas and percent signs meanings of their own."""
    path = str(folder)
    return len(path) <= _LONGEST_SOCKET_DIR and re.fullmatch(r"[A-Za-z0-9_./-]+", path) is not None


def _make_private(folder: Path) -> None:
    """A fresh folder that only we can enter; somebody else's of that name is never used."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)

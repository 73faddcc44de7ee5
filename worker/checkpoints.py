"""Checkpoints leave the work folder while training goes on, so that a later attempt, on any host, can go on from them.

An upload runs in a thread of its own and is told to the database only once it is whole, under the attempt's lease: a
stale worker can store files, but can never make a job start from one.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import DistilleryError
from core.jobs import Claim
from core.storage import storage
from worker.stage import StoredFile, copy

log = logging.getLogger(__name__)

#: The last two: the newest, and the one before it in case the newest proves unreadable.
_KEPT = 2
_UNFINISHED = (".tmp", ".part")


class Keeper:
    """Stores the newest checkpoint of one attempt, one upload at a time."""

    def __init__(self, claim: Claim, workdir: Path) -> None:
        self._claim = claim
        self._folder = workdir / "checkpoints"
        self._pinned = workdir / "pinned"
        self._pinned.mkdir()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self._upload: Future[dict[str, Any] | None] | None = None
        self._seen: tuple[str, int] | None = None
        self._keys: deque[str] = deque()

    def start_from(self, checkpoint: dict[str, Any], check: Callable[[], None]) -> None:
        """Put the checkpoint that an earlier attempt kept where the engine looks for one."""
        file = StoredFile(checkpoint["key"], checkpoint["sha256"], checkpoint["size"])
        copy(file, self._folder / checkpoint["name"], check)
        self._seen = self._newest()

    def look(self) -> dict[str, Any] | None:
        """Start an upload where there is a new checkpoint; return the record of one that has ended well since."""
        done = None
        if self._upload is not None and self._upload.done():
            done, self._upload = self._upload.result(), None
        newest = self._newest()
        if self._upload is None and newest is not None and newest != self._seen:
            self._seen = newest
            self._upload = self._pool.submit(self._keep, newest[0])
        return done

    def finish(self) -> dict[str, Any] | None:
        """Store what is newest now and wait for it; the record of the last that was stored since `look`."""
        done = None
        while (record := self.look()) is not None or self._upload is not None:
            done = record or done
            if self._upload is not None:
                self._upload.exception()
        return done

    def forget_older(self) -> None:
        """Remove this attempt's checkpoints but the last two. Call it once the newest is in the database."""
        while len(self._keys) > _KEPT:
            _delete(self._keys.popleft())

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown()

    def _newest(self) -> tuple[str, int] | None:
        """Name and time of the newest whole file."""
        found = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # the engine keeps a few and removes the rest
                if not path.name.startswith(".") and path.suffix not in _UNFINISHED:
                    found.append((path.stat().st_mtime_ns, path.name))
        return (max(found)[1], max(found)[0]) if found else None

    def _keep(self, name: str) -> dict[str, Any] | None:
        """Store one file. None where that did not work: the next checkpoint is another chance."""
        pinned = self._pinned / name
        try:
            pinned.hardlink_to(self._folder / name)  # the engine may remove its own name for it meanwhile
            stored = storage().put_file(pinned, f"{prefix(self._claim.job_id)}{self._claim.attempt}-{name}")
        except (OSError, DistilleryError) as error:
            log.warning("a checkpoint of %s is not kept: %s", self._claim.job_id, error)
            return None
        finally:
            pinned.unlink(missing_ok=True)
        self._keys.append(stored.key)
        return {
            "key": stored.key,
            "sha256": stored.sha256,
            "size": stored.size,
            "name": name,
            "attempt": self._claim.attempt,
        }


def prefix(job_id: str) -> str:
    """Where a job's checkpoints lie in the store."""
    return f"jobs/{job_id}/checkpoints/"


def forget_all(job_id: str) -> None:
    """Remove the checkpoints of a job that has its student."""
    with suppress(DistilleryError, OSError):
        for entry in list(storage().list(prefix(job_id))):
            _delete(entry.key)


def _delete(key: str) -> None:
    with suppress(DistilleryError, OSError):
        storage().delete(key)

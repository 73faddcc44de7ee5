"""The file that the parts of a resumable upload are added to: one writer at a time, and nothing is said to have arrived
before it is on disk.
"""

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import Locked, NotFound, Unavailable
from core.spool import sync_folder

#: Younger files may belong to a row that is about to be committed.
_LEFTOVER_S = 3600.0


class Parts:
    """Open and locked within a `with` block. The lock is the file's own: it goes with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # A file object and not its number: a write may still be on its way in a thread when the request that asked
        # for it is cancelled, and by then the number may be another file's.
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
        self._turn = threading.Lock()
        self.size = 0
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Locked("Another request is adding to this upload; ask for its offset with HEAD, then go on") from None

    def start(self, at: int) -> None:
        """Go on at an offset that the row names; what lies beyond it is cut off. NotFound where less is there."""
        with self._turn:
            if os.fstat(self._file.fileno()).st_size < at:
                raise NotFound(
                    f"Of this upload {at} bytes had arrived, and this machine does not have them; begin a new one",
                    code="parts_missing",
                )
            self._file.truncate(at)
            self._file.seek(at)
            self.size = at
            sync_folder(self._path.parent)

    def write(self, chunk: bytes) -> None:
        """Add bytes. Unavailable (`no_space`) where the disk is full; as many as went in stay."""
        with self._turn:
            try:
                view = memoryview(chunk)
                while view:
                    written = self._file.write(view)
                    self.size += written
                    view = view[written:]
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise Unavailable("The disk is full; go on later, or free some space", code="no_space") from error
                raise

    def sync(self) -> int:
        """Put all of it on disk; how much that is."""
        with self._turn:
            os.fsync(self._file.fileno())
            return self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:
            self._file.close()


def forget(folder: Path, name: str) -> None:
    """Remove the file of an upload that is whole, or was ended."""
    (folder / name).unlink(missing_ok=True)


def leftovers(folder: Path) -> list[str]:
    """Names of files so old that whoever made them has told the database, or never will."""
    old = time.time() - _LEFTOVER_S
    found = []
    for path in folder.iterdir():
        try:
            if path.stat().st_mtime < old:
                found.append(path.name)
        except FileNotFoundError:
            continue
    return found

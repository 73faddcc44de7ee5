"""One file on its way into the storage: a temporary name, a hash that grows with it, then fsync and rename."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import TooLarge

_PREFIX = "incoming-"
_LEFTOVER_S = 86_400.0


class Spool:
    """Written within a `with` block, at whose end the temporary file is gone, placed or not."""

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises TooLarge instead of going past the limit."""
        self.size += len(chunk)
        if self._max_bytes is not None and self.size > self._max_bytes:
            raise TooLarge(f"The body is longer than the {self._max_bytes} bytes that can be taken.")
        self._hash.update(chunk)
        self._file.write(chunk)

    def finished(self) -> Path:
        """The temporary file, all of it written."""
        self._file.flush()
        return self._path

    def place(self, path: Path, *, lasting: bool) -> None:
        """Rename it to its place, over what is there. `lasting`: it is there after a loss of power as well."""
        self._file.flush()
        if lasting:
            os.fsync(self._file.fileno())
            checked_folder(path.parent)
        self._path.rename(path)
        if lasting:
            sync_folder(path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk, closing tries once more to write what is not wanted any more
            self._file.close()


def link(path: Path, target: Path) -> None:
    """Give a whole file a second name, over what is there; both last."""
    folder = checked_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as beside:
        second = Path(beside) / path.name
        os.link(path, second)
        second.rename(target)
    sync_folder(folder)


def checked_folder(folder: Path) -> Path:
    """The folder, made to last where it is missing."""
    if not folder.is_dir():
        checked_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    return folder


def sync_folder(folder: Path) -> None:
    """Put the folder's names on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left; a file that is still being written is younger than a day."""
    for left in folder.glob(f"{_PREFIX}*"):
        try:
            if time.time() - left.stat().st_mtime > _LEFTOVER_S:
                left.unlink()
        except FileNotFoundError:
            continue

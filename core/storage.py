"""Files: a local folder, or S3 by URL, through obstore. Content-addressed where no key is given.

What is stored is whole and on disk: bytes go to a file of a temporary name, hashed as they pass, then fsync and rename
(or one upload that appears when it is complete). S3's keys and endpoint are read from the usual AWS_* variables by
obstore. Do not use it before a fork: obstore's threads do not follow into the child.
"""

import asyncio
import errno
import hashlib
import math
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from core.errors import DigestMismatch, NotFound, Unavailable
from core.settings import settings
from core.spool import Spool, checked_folder, link, remove_leftovers

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_CHUNK = 1 << 20
_RECENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is stored."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of a file."""

    key: str
    size: int
    modified_at: datetime


class Storage:
    """Files by key: letters, digits, `.`, `_`, `-` in parts divided by `/`.

    Raises NotFound for a key that holds nothing, and Unavailable where the disk is full (`no_space`) or the store
    does not answer (`storage_unavailable`).
    """

    def __init__(self, url: str, data_dir: Path) -> None:
        parts = urlsplit(url or "file://")
        if parts.scheme == "s3":
            self._folder = None
            self._spools = checked_folder(data_dir / "spool")
            self._store: LocalStore | S3Store = S3Store.from_url(url, retry_config=_RETRY)
        elif parts.scheme == "file":
            self._folder = checked_folder(Path(unquote(parts.path)) if url else data_dir / "files")
            self._spools = checked_folder(self._folder / "tmp")
            self._store = LocalStore(self._folder)
        else:
            raise Unavailable(
                f"DISTILLERY_STORAGE_URL must be file:///folder or s3://bucket/prefix, not {parts.scheme}://...",
                code="storage_unavailable",
            )
        remove_leftovers(self._spools)

    async def receive(
        self, chunks: AsyncIterator[bytes], *, max_bytes: int, expected_sha256: str | None = None
    ) -> Stored:
        """Store a stream by its content, in constant memory.

        TooLarge, DigestMismatch, and whatever the stream raises, leave nothing behind.
        """
        with _explained("the upload"), Spool(self._spools, max_bytes) as spool:
            async for batch in _batched(chunks):
                await asyncio.to_thread(spool.write, batch)
            found = spool.sha256
            if expected_sha256 is not None and found != expected_sha256.lower():
                raise DigestMismatch(
                    f"The body has the SHA-256 {found}, not {expected_sha256} as announced: send it again."
                )
            return await asyncio.to_thread(self._keep, spool, f"blobs/{found[:2]}/{found}", True)

    def put_file(self, path: Path, key: str | None = None) -> Stored:
        """Store a copy of a file: by its content where no key is given, else under the key, over what is there."""
        with path.open("rb") as source, _explained(key or path.name), Spool(self._spools) as spool:
            while chunk := source.read(_CHUNK):
                spool.write(chunk)
            if key is None:
                return self._keep(spool, f"blobs/{spool.sha256[:2]}/{spool.sha256}", True)
            return self._keep(spool, key, False)

    def spool(self, name: str) -> Path:
        """A folder for what is on its way here, on the disk where a local file ends."""
        return checked_folder(self._spools / name)

    def adopt(self, path: Path) -> Stored:
        """Store a file of a spool folder by its content. The name stays until the caller has it on record, then goes.

        In a local folder it is the same file under a second name: no byte is copied.
        """
        with path.open("rb") as file, _explained("the upload"):
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            stored = Stored(f"blobs/{found[:2]}/{found}", found, file.seek(0, os.SEEK_END))
            if self._is_recent(stored.key):
                return stored
            if self._folder is None:
                obstore.put(self._store, stored.key, path)
            else:
                os.utime(path)
                link(path, self._folder / stored.key)
            return stored

    def fetch(self, key: str, path: Path) -> Stored:
        """Copy a stored file to `path`; its hash, taken on the way, is in the answer."""
        with _explained(f"a copy of {key}"), Spool(path.parent) as spool:
            for chunk in self.read(key):
                spool.write(chunk)
            spool.place(path, lasting=False)
            return Stored(key, spool.sha256, spool.size)

    def _is_recent(self, key: str) -> bool:
        """Whether the file is there and so young that no collector looks at it: an older one is stored once more."""
        try:
            return datetime.now(UTC) - self.stat(key).modified_at < _RECENT
        except NotFound:
            return False

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes [start, end) in pieces of about a megabyte. A missing key is told at once, not when it is read."""
        if self._folder is not None:
            return self._read_file(key, start, end)
        if start == end or self.stat(key).size == start:
            return iter(())
        with _found(key):
            wanted = obstore.get(
                self._store, key, options={"range": {"offset": start} if end is None else (start, end)}
            )
        return _pieces(key, wanted.stream(min_chunk_size=_CHUNK))

    def _read_file(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        """The same of a folder, where reading a file takes a sixth of the time that a store does."""
        assert self._folder is not None
        path = self._folder / _checked(key)
        with _found(key):
            path.stat()
        return _file_pieces(key, path, start, end)

    def stat(self, key: str) -> Entry:
        """What is known of a file without reading it."""
        with _found(_checked(key)):
            meta = obstore.head(self._store, key)
        return Entry(key, meta["size"], meta["last_modified"])

    def exists(self, key: str) -> bool:
        """Whether the key holds a file."""
        try:
            self.stat(key)
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove a file; nothing happens where there is none."""
        try:
            with _found(_checked(key)):
                obstore.delete(self._store, key)
        except NotFound:
            return

    def list(self, prefix: str) -> Iterator[Entry]:
        """The files below a folder of keys."""
        with _found(_checked(prefix.rstrip("/"))):
            for page in obstore.list(self._store, prefix.rstrip("/")):
                for meta in page:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"])

    def free_bytes(self) -> int:
        """Room on the disk that an upload is first written to."""
        return shutil.disk_usage(self._spools).free

    def ping(self) -> None:
        """Raise Unavailable where nothing can be stored or found."""
        with _explained("the storage"), Spool(self._spools) as spool:
            spool.write(b"ping")
            next(iter(obstore.list(self._store, "ping")), None)

    def _keep(self, spool: Spool, key: str, by_content: bool) -> Stored:
        stored = Stored(_checked(key), spool.sha256, spool.size)
        if by_content and self._is_recent(key):
            return stored
        if self._folder is not None:
            spool.place(self._folder / key, lasting=True)
        else:
            with _explained(key):
                obstore.put(self._store, key, spool.finished())
        return stored


def storage() -> Storage:
    """The storage that the settings name; one for the process."""
    return _opened(settings().storage_url, settings().data_dir)


@cache
def _opened(url: str, data_dir: Path) -> Storage:
    return Storage(url, data_dir)


#: Short enough that a request gets its 503 while the caller still waits.
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}


async def _batched(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces large enough to be worth a thread each."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _pieces(key: str, stream: Iterator[bytes]) -> Iterator[bytes]:
    with _found(key):
        yield from stream


def _file_pieces(key: str, path: Path, start: int, end: int | None) -> Iterator[bytes]:
    with _found(key), path.open("rb", buffering=0) as file:
        file.seek(start)
        left = math.inf if end is None else end - start
        while left > 0 and (piece := file.read(int(min(_CHUNK, left)))):
            left -= len(piece)
            yield piece


def _checked(key: str) -> str:
    parts = key.split("/")
    plain = all(part.strip(".") and set(part) <= _KEY_LETTERS for part in parts)
    assert plain, f"not a key of ours: {key!r}"
    return key


_KEY_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@contextmanager
def _found(key: str) -> Iterator[None]:
    """Errors of reading, in our words."""
    with _explained(key):
        try:
            yield
        except (FileNotFoundError, NotFoundError) as error:
            raise NotFound(f"Nothing is stored under {key}.", code="missing_file") from error


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Errors of disks and stores, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable(
                f"The disk is full: {what} was not stored. Free some space, then try again.", code="no_space"
            ) from error
        raise _does_not_answer(what, error) from error
    except BaseError as error:
        raise _does_not_answer(what, error) from error


def _does_not_answer(what: str, error: Exception) -> Unavailable:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    return Unavailable(f"The storage cannot be used for {what} ({reason}); try again.", code="storage_unavailable")

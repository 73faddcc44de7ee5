"""What teachers said, on the disk: tables in chunks that all jobs of one owner on this host read and fill together.

A table is a folder whose name is the hash of all that decides its values, the owner among it: nobody learns from what
is there, or how fast, what another owner has. A chunk is one file that appears whole (temporary name, rename) and
carries the SHA-256 of its bytes, which every reader checks: one that is damaged, cut off or was torn by a power failure
is removed and made again, so nothing waits for the disk. Who computes a chunk holds a lock on it that the kernel drops
with the process, and who uses a table a shared lock on the folder, which keeps the collector (worker/shelves.py) away.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

log = logging.getLogger(__name__)

#: Raised with each change of the files, or of what a teacher of this engine sees or says.
FORMAT = 1
_DIGEST = hashlib.sha256().digest_size
#: Nothing is written where the disk would have less left: what is kept here must never be what another job lacks.
_LEFT_FREE = 512 * 2**20


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table: by name (m, ...) in the table's own dtypes, and the seconds that the teacher took."""

    tensors: dict[str, Tensor]
    seconds: float
    #: Of its file.
    size: int


class Table:
    """One table, while it is in use."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._left = folder, max_bytes
        #: False from the first failure to write on, or when it is too large: the job goes on without.
        self.is_writable = True

    def read(self, number: int) -> Chunk | None:
        """The chunk; None where it is not there, or is damaged, which removes it."""
        path = self._folder / f"{number}.chunk"
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            return _opened(content, self._folder.name, number)
        except (ValueError, KeyError) as error:
            log.warning("a chunk of a teacher's outputs is damaged and is made again: %s", error)
            with suppress(OSError):
                path.unlink()
            return None

    def write(self, number: int, tensors: Mapping[str, Tensor], seconds: float) -> int:
        """Keep the chunk, its values as they are in the narrowest type that holds them; bytes, 0 where it cannot be."""
        if not self.is_writable:
            return 0
        own = {"table": self._folder.name, "chunk": str(number), "seconds": f"{seconds:.6f}"}
        content = save({name: narrow(x).contiguous().cpu() for name, x in tensors.items()}, own)
        partial = self._folder / f".{number}.{os.getpid()}.part"
        try:
            self._refuse_more_than_there_is_room_for(len(content))
            with partial.open("wb") as file:
                file.write(content)
                file.write(hashlib.sha256(content).digest())
            partial.replace(self._folder / f"{number}.chunk")
        except OSError as error:
            log.warning("the teacher's outputs are not kept: %s", error)
            self.is_writable = False
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return 0
        return len(content) + _DIGEST

    def _refuse_more_than_there_is_room_for(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise OSError("they are more than the cache may hold")
        if shutil.disk_usage(self._folder).free < size + _LEFT_FREE:
            raise OSError("the disk is nearly full")

    @contextmanager
    def claimed(self, number: int) -> Iterator[bool]:
        """For the time of the block nobody else computes the chunk; False where somebody does just now."""
        try:
            handle = os.open(self._folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # nothing can be written: each computes for itself
            yield True
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(handle)


@contextmanager
def opened(root: Path, key: Mapping[str, object], max_bytes: int) -> Iterator[Table | None]:
    """The table of this key, which is not removed for the time of the block; None where there can be none."""
    name = hashlib.sha256(json.dumps({"format": FORMAT, **key}, sort_keys=True).encode()).hexdigest()
    try:
        handle = _held(root / name)
    except OSError as error:
        log.warning("teachers' outputs cannot be kept in the cache: %s", error)
        yield None
        return
    try:
        yield Table(root / name, max_bytes)
    finally:
        os.close(handle)


def narrow(x: Tensor) -> Tensor:
    """The same values in a type of 16 bits where one holds them all; other types than float32 as they are."""
    if x.dtype != torch.float32:
        return x
    for dtype in (torch.bfloat16, torch.float16):
        narrowed = x.to(dtype)
        if torch.equal(narrowed.float(), x):
            return narrowed
    return x


def _held(folder: Path) -> int:
    """A descriptor with a shared lock on the folder, which exists and was used just now."""
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            # The collector may have removed it between the two lines above.
            if folder.exists() and os.fstat(handle).st_ino == folder.stat().st_ino:
                os.utime(folder)
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)


def _opened(content: bytes, table: str, number: int) -> Chunk:
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its bytes do not have the checksum that stands beside them")
    own = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]
    if (own["table"], own["chunk"]) != (table, str(number)):
        raise ValueError("it is of another table")
    return Chunk(load(body), float(own["seconds"]), len(content))

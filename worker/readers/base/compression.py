"""Takes one layer of gzip, xz or bzip2 off a file, and stops a bomb while it unpacks."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from core.errors import Rejected
from worker.readers.base.kinds import HEAD_BYTES, Kind, kind_of
from worker.readers.base.limits import Limits

_OPENERS: dict[Kind, Callable[[BinaryIO], object]] = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open}
#: What decompressors, zipfile's among them, raise for a file that is cut or not what it seemed.
DAMAGE = (EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile, zlib.error)
_CHUNK = 2**20


def is_compressed(kind: Kind) -> bool:
    """Whether `copy_plain` would take a layer off."""
    return kind in _OPENERS


def plain_head(stream: BinaryIO) -> bytes:
    """The first bytes of what a file holds, a layer of compression taken off; `stream` stands at its start."""
    head = stream.read(HEAD_BYTES)
    kind = kind_of(head)
    if not is_compressed(kind):
        return head
    stream.seek(0)
    return cast("BinaryIO", _OPENERS[kind](stream)).read(HEAD_BYTES)


def copy_plain(stream: BinaryIO, target: Path, *, name: str, limits: Limits, packed_bytes: int) -> int:
    """Writes what `stream` holds into `target`, a layer of compression taken off; returns how many bytes.

    Raises: Rejected where the stream is damaged, or unpacks to more than the limits on size and ratio allow.
    """
    kind = kind_of(stream.read(HEAD_BYTES))
    stream.seek(0)
    num = 0
    try:
        plain = cast("BinaryIO", _OPENERS[kind](stream)) if is_compressed(kind) else stream
        with target.open("wb") as out:
            while chunk := plain.read(_CHUNK):
                num += len(chunk)
                check_unpacked(name, num, packed_bytes, limits)
                out.write(chunk)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise Rejected(f"{name} is cut short or damaged ({error}). Upload it again.", code="damaged") from error
    return num


def check_unpacked(name: str, unpacked_bytes: int, packed_bytes: int, limits: Limits) -> None:
    """Raises: Rejected where something unpacks to more than the limits on size and ratio allow."""
    if unpacked_bytes > limits.max_unpacked_bytes:
        raise Rejected(
            f"{name} unpacks to more than {limits.max_unpacked_bytes / 2**30:.3g} GiB, the limit. Split the data set.",
            code="too_large",
        )
    if unpacked_bytes > limits.ratio_from_bytes and unpacked_bytes > limits.max_ratio * max(packed_bytes, 1):
        raise Rejected(
            f"{name} unpacks to over {limits.max_ratio:.0f} times its size, as only a bomb does. If the data are "
            "truly that regular, upload them without compression.",
            code="bomb",
        )

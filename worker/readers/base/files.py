"""The files of an upload, whatever they are packed in: a list of entries, each of which can be opened.

Nothing is ever unpacked under a name that the upload chose, so that no such name can reach the disk.
"""

import io
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from core.errors import Rejected
from worker.readers.base.case import Case
from worker.readers.base.compression import DAMAGE, copy_plain, plain_head
from worker.readers.base.limits import Limits

_JUNK_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"})


class BadFile(Exception):
    """Why a file of an archive makes no row, in words for the report."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `name` is cleaned and uses `/`; `size` is that of the content as packed files state it, in bytes."""

    name: str
    size: int
    #: Where the container finds it: an offset in a tar, a number in a zip.
    place: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders and the file's own name."""
        return tuple(self.name.split("/"))


class Files(Protocol):
    """A container of files."""

    #: Files that count, in the container's order; hidden and system files are left out.
    entries: list[Entry]
    #: Folders that the container names by themselves, cleaned.
    folders: list[str]

    def open(self, entry: Entry) -> BinaryIO:
        """A seekable stream over one file. Raises: one of compression.DAMAGE for a damaged one."""
        ...

    def plain_path(self, entry: Entry) -> Path | None:
        """Where the file lies on the disk by itself, if it does."""
        ...


class LoneFile:
    """A file that is not an archive."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self.entries = [Entry(name, path.stat().st_size)]
        self.folders: list[str] = []

    def open(self, entry: Entry) -> BinaryIO:
        """The file itself."""
        assert entry == self.entries[0]
        return self._path.open("rb")

    def plain_path(self, entry: Entry) -> Path:
        """Where it lies."""
        assert entry == self.entries[0]
        return self._path


class Span(io.RawIOBase):
    """A read-only window on an open file: `size` bytes from `start`."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size, self._at = descriptor, start, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As io.RawIOBase has it, kept inside the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(base + offset, 0), self._size)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills `buffer` as far as the window goes."""
        data = os.pread(self._descriptor, min(len(buffer), self._size - self._at), self._start + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def head(files: Files, entry: Entry) -> bytes:
    """The first bytes of what an entry holds, a layer of compression taken off; nothing for a damaged one."""
    try:
        with files.open(entry) as stream:
            return plain_head(stream)
    except DAMAGE:
        return b""


def read(files: Files, entry: Entry, max_bytes: int) -> bytes:
    """A small file whole. Raises: Rejected where it is larger than `max_bytes`."""
    if entry.size > max_bytes:
        raise Rejected(f"{entry.name} has {entry.size} bytes; the limit is {max_bytes}.", code="too_large")
    with files.open(entry) as stream:
        return stream.read()


def extract(files: Files, entry: Entry, case: Case) -> Path:
    """A path to what an entry holds, a layer of compression taken off; in the scratch folder unless it lies bare."""
    if (path := files.plain_path(entry)) is not None:
        return path
    target = case.new_scratch()
    try:
        stream = files.open(entry)
    except DAMAGE as error:
        raise Rejected(f"{entry.name} is damaged ({error}). Upload the archive again.", code="damaged") from error
    with stream:
        copy_plain(stream, target, name=entry.name, limits=case.limits, packed_bytes=entry.size)
    return target


def clean_name(raw: str, limits: Limits) -> str:
    """A member's name as folders and a name, joined by `/`; Windows' backslashes count as `/`.

    Raises: Rejected where it is absolute, climbs out by `..`, or is longer or deeper than the limits allow.
    """
    text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    # macOS takes accents off their letters in file names; nobody types class names so.
    name = unicodedata.normalize("NFC", text).replace("\\", "/")
    shown = repr(name[:100])
    if len(name) > limits.max_name_chars:
        raise Rejected(
            f"The archive holds a name of {len(name)} characters: {shown} ... The limit is {limits.max_name_chars}: "
            "shorten it.",
            code="archive_names",
        )
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Rejected(
            f"The archive holds {shown}, an absolute path. Pack the folder with relative paths.", code="archive_names"
        )
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Rejected(
            f"The archive holds {shown}, which leads out of its folder. Pack the folder from within.",
            code="archive_names",
        )
    if len(parts) > limits.max_depth:
        raise Rejected(
            f"The archive holds folders {len(parts)} deep: {shown} ... The limit is {limits.max_depth}: pack it flat.",
            code="archive_names",
        )
    return "/".join(parts)


def is_junk(name: str) -> bool:
    """Whether a cleaned name is hidden, or one that macOS or Windows leaves behind."""
    return any(part.startswith(".") or part.lower() in _JUNK_NAMES for part in name.split("/"))


def without_repeats(entries: Iterable[Entry], case: Case) -> list[Entry]:
    """The first entry of each name; the others are noted as ignored."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in seen:
            case.ignored.add(entry.name, "the archive holds this name twice; the first counts")
        else:
            seen[entry.name] = entry
    return list(seen.values())

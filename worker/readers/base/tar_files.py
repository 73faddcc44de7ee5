"""The files of a tar archive, plain by now, read by offset."""

import io
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

from core.errors import Rejected
from worker.readers.base.case import Case
from worker.readers.base.files import Entry, Span, clean_name, is_junk, without_repeats

_BLOCK = 512


class TarFiles:
    """A checked tar archive. Raises: Rejected where it is damaged, too large or has names that climb out."""

    def __init__(self, path: Path, case: Case) -> None:
        self._file = case.exits.enter_context(path.open("rb"))
        self.folders: list[str] = []
        self.entries = without_repeats(self._index(path, case), case)

    def open(self, entry: Entry) -> BinaryIO:
        """The member's content."""
        return cast("BinaryIO", io.BufferedReader(Span(self._file.fileno(), entry.place, entry.size)))

    def plain_path(self, entry: Entry) -> None:
        """Nowhere."""

    def _index(self, path: Path, case: Case) -> list[Entry]:
        entries: list[Entry] = []
        num, end = 0, 0
        try:
            with tarfile.open(path, "r:") as tar:
                while (info := tar.next()) is not None:
                    # tarfile keeps every header for look-ups by name, which nobody makes here.
                    tar.members.clear()  # type: ignore[attr-defined]
                    num += 1
                    if num > case.limits.max_members:
                        raise Rejected(
                            f"The archive holds more than {case.limits.max_members} members, the limit. Hand in a "
                            "part of the set.",
                            code="too_large",
                        )
                    entries += self._entry(info, case)
                end = tar.offset
        except (tarfile.TarError, OSError, ValueError, RecursionError) as error:  # recursion: header upon header
            raise _damaged(str(error)) from error
        self._check_end(end)
        return entries

    def _entry(self, info: tarfile.TarInfo, case: Case) -> list[Entry]:
        name = clean_name(info.name, case.limits)
        if not name or is_junk(name):
            return []
        if info.isdir():
            self.folders.append(name)
            return []
        if not info.isreg() or info.issparse():
            case.ignored.add(name, "a link, device or sparse file; only plain files are read")
            return []
        return [Entry(name, info.size, info.offset_data)]

    def _check_end(self, end: int) -> None:
        """tarfile takes a broken header for the end; the true end is a block of zeros, or that of the file."""
        self._file.seek(end)
        if self._file.read(_BLOCK).strip(b"\x00"):
            raise _damaged(f"there is no member header at byte {end}")


def _damaged(why: str) -> Rejected:
    return Rejected(f"The tar archive is cut short or damaged: {why}. Upload it again.", code="damaged")

"""The files of a zip archive, once its directory has been looked over: claims in it are checked before they cost.

Source of the layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end record).
"""

import stat
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, cast

from core.errors import Rejected
from worker.readers.base.case import Case
from worker.readers.base.compression import check_unpacked
from worker.readers.base.files import Entry, clean_name, is_junk, without_repeats
from worker.readers.base.limits import Limits

_END = b"PK\x05\x06"
_END64 = b"PK\x06\x06"
_LOCATOR_BYTES, _END_BYTES, _MAX_COMMENT = 20, 22, 2**16
_LOCAL_BYTES, _DIRECTORY_BYTES = 30, 46
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


class ZipFiles:
    """A checked zip archive. Raises: Rejected where it is damaged, encrypted, a bomb or has names that climb out."""

    def __init__(self, path: Path, case: Case) -> None:
        size = path.stat().st_size
        _check_directory_size(path, size, case.limits)
        try:
            self._zip = case.exits.enter_context(zipfile.ZipFile(path))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise _damaged(str(error)) from error
        infos = self._zip.infolist()
        _check_overlap(infos, size)
        check_unpacked("The archive", sum(info.file_size for info in infos), size, case.limits)
        self.folders = [clean_name(info.filename, case.limits) for info in infos if _is_folder(info)]
        self.folders = [name for name in self.folders if name and not is_junk(name)]
        entries = (entry for place, info in enumerate(infos) if (entry := _entry(info, place, case)) is not None)
        self.entries = without_repeats(entries, case)

    def open(self, entry: Entry) -> BinaryIO:
        """The member's content; its CRC is checked at the end of the read."""
        try:
            return cast("BinaryIO", self._zip.open(self._zip.infolist()[entry.place]))
        # Flags for patches, encryption and the like; names that are no text.
        except (NotImplementedError, RuntimeError, ValueError, struct.error) as error:
            raise zipfile.BadZipFile(str(error)) from error

    def plain_path(self, entry: Entry) -> None:
        """Nowhere."""


def _entry(info: zipfile.ZipInfo, place: int, case: Case) -> Entry | None:
    """The entry of a member that counts."""
    name = clean_name(info.filename, case.limits)
    if _is_folder(info) or not name or is_junk(name):
        return None
    if stat.S_ISLNK(info.external_attr >> 16):
        case.ignored.add(name, "a link; only files are read")
        return None
    if info.flag_bits & 0x1:
        raise Rejected(f"The archive is encrypted ({name}). Pack it without a password.", code="encrypted")
    if info.compress_type not in _METHODS:
        raise Rejected(
            f"{name} is packed by zip method {info.compress_type}, which is not read here. Pack with deflate, as most "
            "programs do.",
            code="archive",
        )
    check_unpacked(name, info.file_size, info.compress_size, case.limits)
    return Entry(name, info.file_size, place)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(("/", "\\"))


def _check_overlap(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Members that share bytes are how one small file unpacks to petabytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise Rejected(f"Members of the archive overlap at {info.filename!r}. Pack it anew.", code="overlap")
        end = info.header_offset + _LOCAL_BYTES + info.compress_size
    if end > size:
        raise _damaged("a member is said to reach beyond the file's end")


def _check_directory_size(path: Path, size: int, limits: Limits) -> None:
    """Looks at the end record before zipfile reads the whole directory into memory."""
    with path.open("rb") as file:
        start = max(0, size - _END_BYTES - _MAX_COMMENT - _LOCATOR_BYTES)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < _END_BYTES:
            raise _damaged("it has no directory at its end")
        num, directory_bytes = struct.unpack("<HI", tail[at + 10 : at + 16])
        if num == 0xFFFF or directory_bytes == 0xFFFFFFFF:
            num, directory_bytes = _zip64_counts(file, tail[max(0, at - _LOCATOR_BYTES) : at], (num, directory_bytes))
    if directory_bytes > size or num * _DIRECTORY_BYTES > size:
        raise _damaged("its directory is said to be larger than the file")
    if num > limits.max_members:
        raise Rejected(
            f"The archive holds {num} members; the limit is {limits.max_members}. Hand in a part of the set.",
            code="too_large",
        )
    if directory_bytes > limits.max_members * (_DIRECTORY_BYTES + 256):
        raise Rejected(f"The archive's directory has {directory_bytes} bytes. Shorten the names.", code="too_large")


def _zip64_counts(file: BinaryIO, locator: bytes, counts: tuple[int, int]) -> tuple[int, int]:
    """The true counts of an archive whose end record says that they are in the zip64 record."""
    if len(locator) < _LOCATOR_BYTES or not locator.startswith(b"PK\x06\x07"):
        return counts
    file.seek(struct.unpack("<Q", locator[8:16])[0])
    record = file.read(48)
    if len(record) < 48 or not record.startswith(_END64):
        raise _damaged("its zip64 record is not where it should be")
    num, directory_bytes = struct.unpack("<QQ", record[32:48])
    return num, directory_bytes


def _damaged(why: str) -> Rejected:
    return Rejected(f"The zip archive is cut short or damaged: {why}. Upload it again.", code="damaged")

"""A zip archive's directory, read strictly by ourselves before any library opens the archive.

What torch writes is plain: members stored one after the other, none compressed, none hidden. Anything else means that
two readers could see two different archives, which is how scanners are fooled, so it is refused. Layout of the
records: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.
"""

import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import Rejected

MAX_MEMBERS = 200_000
_MAX_DIRECTORY_BYTES = 64 * 2**20
_MAX_NAME = 500
_CHUNK = 2**20

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCATOR64 = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")

_HAS_DESCRIPTOR = 1 << 3
_UTF8 = 1 << 11
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """One file: where its header starts, where its bytes start, and how many there are."""

    name: str
    header: int
    start: int
    size: int
    crc: int
    flags: int

    @property
    def end(self) -> int:
        """Where its bytes end; a data descriptor may follow."""
        return self.start + self.size


def read_directory(path: Path) -> list[Member]:
    """The members in the order of the file. Raises Rejected with `zip_structure` for anything out of the ordinary."""
    with path.open("rb") as file:
        try:
            return _read(file)
        except (struct.error, UnicodeDecodeError):
            raise _refused("one of its records is cut off or cannot be read") from None


def read_member(path: Path, member: Member, limit: int) -> bytes:
    """The bytes of a small member."""
    if member.size > limit:
        raise _refused(f"{member.name} has {member.size:,} bytes, more than the {limit:,} allowed for it")
    with path.open("rb") as file:
        file.seek(member.start)
        return file.read(member.size)


def check_sums(path: Path, members: list[Member]) -> None:
    """Every member's CRC-32 is the one that the directory gives."""
    with path.open("rb") as file:
        for member in members:
            file.seek(member.start)
            crc, left = 0, member.size
            while left:
                chunk = file.read(min(_CHUNK, left))
                if not chunk:
                    raise _refused(f"{member.name} is cut off")
                crc = zlib.crc32(chunk, crc)
                left -= len(chunk)
            if crc != member.crc:
                raise _refused(f"the checksum of {member.name} is wrong")


def _refused(what: str) -> Rejected:
    return Rejected(
        f"The zip archive is not one that torch.save writes, or it is damaged: {what}. Save the state_dict again "
        "with torch.save and upload that file as it is.",
        code="zip_structure",
    )


def _read(file: BinaryIO) -> list[Member]:
    size = file.seek(0, os.SEEK_END)
    num_members, start, length, end = _end_record(file, size)
    if start + length != end:
        raise _refused("its directory does not end where the archive ends")
    if num_members > MAX_MEMBERS or length > _MAX_DIRECTORY_BYTES:
        raise _refused(f"it has {num_members:,} members, more than the {MAX_MEMBERS:,} allowed")
    file.seek(start)
    directory = file.read(length)
    members: list[Member] = []
    position = 0
    for _ in range(num_members):
        member, position = _member(file, directory, position)
        members.append(member)
    if position != length:
        raise _refused("its directory holds more than its members")
    _check_names(members)
    return _check_layout(file, members, start)


def _end_record(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Number of members, start and length of the directory, and where it has to end."""
    at = size - _END.size
    if at < 0:
        raise _refused("it is too short")
    file.seek(at)
    magic, disk, first_disk, here, total, length, start, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\x05\x06" or comment:
        raise _refused("it has no end record at its very end, so it was cut off or something was added")
    if disk or first_disk or here != total:
        raise _refused("it is one of several parts")
    if total != _FULL16 and _FULL32 not in (length, start) and not _has_locator(file, at):
        return total, start, length, at
    return _end_record64(file, at, (total, start, length))


def _has_locator(file: BinaryIO, at: int) -> bool:
    if at < _LOCATOR64.size:
        return False
    file.seek(at - _LOCATOR64.size)
    return file.read(4) == b"PK\x06\x07"


def _end_record64(file: BinaryIO, at: int, short: tuple[int, int, int]) -> tuple[int, int, int, int]:
    file.seek(max(0, at - _LOCATOR64.size))
    magic, disk, end64, disks = _LOCATOR64.unpack(file.read(_LOCATOR64.size))
    if magic != b"PK\x06\x07" or disk or disks > 1 or end64 != at - _LOCATOR64.size - _END64.size:
        raise _refused("its zip64 locator points elsewhere")
    file.seek(end64)
    magic, record, _, _, disk, first_disk, here, total, length, start = _END64.unpack(file.read(_END64.size))
    if magic != b"PK\x06\x06" or record != _END64.size - 12 or disk or first_disk or here != total:
        raise _refused("its zip64 end record cannot be read")
    for value, short_value, full in zip((total, start, length), short, (_FULL16, _FULL32, _FULL32), strict=True):
        if short_value not in (value, full):
            raise _refused("its two end records disagree")
    return total, start, length, end64


def _member(file: BinaryIO, directory: bytes, position: int) -> tuple[Member, int]:
    fields = _CENTRAL.unpack_from(directory, position)
    magic, flags, method, crc, packed, size = fields[0], fields[3], fields[4], *fields[7:10]
    name_length, extra_length, comment_length, disk, _, attributes, header = fields[10:17]
    name_at = position + _CENTRAL.size
    end = name_at + name_length + extra_length + comment_length
    if magic != b"PK\x01\x02" or disk or comment_length or end > len(directory):
        raise _refused("its directory cannot be read")
    raw_name = directory[name_at : name_at + name_length]
    name = raw_name.decode("utf-8")
    if len(name) > _MAX_NAME:
        raise _refused(f"it holds a name of {len(name):,} characters")
    extra = directory[name_at + name_length : end]
    size, packed, header = _wide(extra, [size, packed, header])
    if method != 0 or size != packed:
        raise _refused(f"{name!r} is compressed")
    if flags & ~(_HAS_DESCRIPTOR | _UTF8):
        raise _refused(f"{name!r} is encrypted or patched")
    # No mode at all is what torch writes, and what is not of Unix.
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG):
        raise _refused(f"{name!r} is a link, a device or a folder")
    start = _check_local(file, header, raw_name, (flags, crc, size))
    return Member(name, header, start, size, crc, flags), end


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """Values that do not fit into 32 bits stand in the zip64 extra field, in this order, and only those."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            wide = list(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [wide.pop(0) if value == _FULL32 and wide else value for value in values]
        at += 4 + length
    return values


def _check_local(file: BinaryIO, header: int, raw_name: bytes, said: tuple[int, int, int]) -> int:
    """The member's own header says the same as the directory (flags, CRC, size). Returns where its bytes start."""
    flags, crc, size = said
    file.seek(header)
    magic, _, local_flags, method, _, _, local_crc, packed, local_size, name_length, extra_length = _LOCAL.unpack(
        file.read(_LOCAL.size)
    )
    name, extra = file.read(name_length), file.read(extra_length)
    local_size, packed = _wide(extra, [local_size, packed])
    later = flags & _HAS_DESCRIPTOR and (local_crc, local_size, packed) == (0, 0, 0)
    same = (local_crc, local_size, packed) == (crc, size, size)
    if magic != b"PK\x03\x04" or (local_flags, method, name) != (flags, 0, raw_name) or not (later or same):
        raise _refused(f"the header of {raw_name!r} is not what the directory says")
    return int(header + _LOCAL.size + name_length + extra_length)


def _check_names(members: list[Member]) -> None:
    """No name twice, in any case: some readers take `DATA.PKL` for `data.pkl`."""
    seen = set[str]()
    for member in members:
        name = member.name
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or ":" in name or "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
            raise _refused(f"the name {name[:200]!r} is not a plain relative path")
        if name.lower() in seen:
            raise _refused(f"the name {name[:200]!r} stands in it twice")
        seen.add(name.lower())


def _check_layout(file: BinaryIO, members: list[Member], directory: int) -> list[Member]:
    """Members follow one another without overlap or gap, from the first byte to the directory."""
    ordered = sorted(members, key=lambda member: member.header)
    position = 0
    for member in ordered:
        if member.header != position:
            raise _refused(f"there is an overlap or a gap before {member.name!r}")
        position = member.end + _descriptor_length(file, member)
    if position != directory:
        raise _refused("there is an overlap or a gap before its directory")
    return ordered


def _descriptor_length(file: BinaryIO, member: Member) -> int:
    """Length of the record after a member's bytes that repeats checksum and sizes, in 32 or in 64 bits."""
    if not member.flags & _HAS_DESCRIPTOR:
        return 0
    file.seek(member.end)
    found = file.read(24)
    for form in ("<4sL2Q",) if member.size > _FULL32 else ("<4sL2L", "<4sL2Q"):
        expected = struct.pack(form, b"PK\x07\x08", member.crc, member.size, member.size)
        if found.startswith(expected):
            return len(expected)
    raise _refused(f"the data descriptor of {member.name!r} is not what the directory says")

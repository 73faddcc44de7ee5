"""A zip archive in which two readers could see two things is refused, each trick by itself."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import Rejected
from tests.worker.intake.teachers.makers import saved
from worker.intake.zip_directory import check_sums, read_directory, read_member


def _archive(*names: str, compress: int = zipfile.ZIP_STORED, force_zip64: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name in names or ("m/data.pkl", "m/data/0"):
            info = zipfile.ZipInfo(name)
            info.compress_type = compress
            with archive.open(info, "w", force_zip64=force_zip64) as member:
                member.write(f"bytes of {name}".encode())
    return buffer.getvalue()


def _directory(data: bytes | bytearray) -> int:
    return data.index(b"PK\x01\x02")


def _patched(at: Callable[[bytes], int], form: str, value: int) -> bytes:
    data = bytearray(_archive())
    struct.pack_into(form, data, at(bytes(data)), value)
    return bytes(data)


def _entry(field: int) -> Callable[[bytes], int]:
    return lambda data: _directory(data) + field


def _with_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("m/data/0")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def _twice(first: str, second: str) -> bytes:
    """Two members whose names become one, in the headers too."""
    assert len(first) == len(second)
    return _archive("m/aaaa", "m/bbbb").replace(b"m/aaaa", first.encode()).replace(b"m/bbbb", second.encode())


def _overlapping() -> bytes:
    """The second entry of the directory points at the first member."""
    data = bytearray(_archive("m/aaaa", "m/bbbb"))
    second = data.index(b"PK\x01\x02", _directory(data) + 4)
    first_entry = bytes(data[_directory(data) : second])
    data[second : second + len(first_entry)] = first_entry.replace(b"m/aaaa", b"m/cccc")
    return bytes(data)


def _gap() -> bytes:
    """Bytes between the last member and the directory, which the end record takes into account."""
    data = _archive()
    at, extra = _directory(data), b"hidden"
    moved = bytearray(data[:at] + extra + data[at:])
    struct.pack_into("<L", moved, len(moved) - 6, at + len(extra))
    return bytes(moved)


def _long_end(total: int = 2, directory: int | None = None, jump: int = 0) -> bytes:
    """The end as archives past 4 GiB or 65,535 members have it: a long record, a locator, a short record of -1s."""
    data = _archive()
    start, end = _directory(data), len(data) - 22
    at = start if directory is None else directory
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, total, total, end - start, at)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end + jump, 1)
    short = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    return data[:end] + record + locator + short


HOSTILE = {
    "cut off": _archive()[:-10],
    "half": _archive()[: len(_archive()) // 2],
    "start alone": b"PK\x03\x04",
    "bytes before": b"MZ" + _archive(),
    "bytes after": _archive() + b"\0",
    "comment": _patched(lambda data: len(data) - 2, "<H", 4) + b"abcd",
    "compressed": _archive(compress=zipfile.ZIP_DEFLATED),
    "encrypted": _patched(_entry(8), "<H", 1),
    "method differs": _patched(_entry(10), "<H", 8),
    "crc differs": _patched(_entry(16), "<L", 1),
    "size differs": _patched(_entry(24), "<L", 1),
    "sizes differ": _patched(_entry(20), "<L", 1),
    "offset differs": _patched(_entry(42), "<L", 5),
    "offset far out": _patched(_entry(42), "<L", 2**31),
    "on another disk": _patched(_entry(34), "<H", 1),
    "fewer members said": _patched(lambda data: len(data) - 12, "<H", 1),
    "header differs": _archive().replace(b"m/data/0", b"m/data/1", 1),
    "link": _with_link(),
    "twice": _twice("m/same", "m/same"),
    "twice but for case": _twice("m/same", "m/SAME"),
    "overlap": _overlapping(),
    "gap": _gap(),
    "absolute": _archive("/etc/passwd"),
    "parent": _archive("m/../../etc/passwd"),
    "backslash": _archive("m\\data.pkl").replace(b"m/data.pkl", b"m\\data.pkl"),
    "drive": _archive("c:/data.pkl"),
    "empty part": _archive("m//data.pkl"),
    "folder": _archive("m/"),
    "long end, more members": _long_end(total=3),
    "long end, directory elsewhere": _long_end(directory=3),
    "long end elsewhere": _long_end(jump=-8),
    "long end missing": _archive()[:-22] + _long_end()[-22:],
    "two ends that disagree": _long_end(total=1)[:-22] + _archive()[-22:],
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_tricks_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "upload"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(Rejected) as caught:
        read_directory(path)
    assert caught.value.code == "zip_structure"
    assert "torch.save" in caught.value.detail


@pytest.mark.parametrize("force_zip64", [False, True])
def test_a_plain_archive_is_read(tmp_path: Path, force_zip64: bool) -> None:
    path = tmp_path / "upload"
    path.write_bytes(_archive(force_zip64=force_zip64))
    members = read_directory(path)
    assert [member.name for member in members] == ["m/data.pkl", "m/data/0"]
    assert read_member(path, members[1], 100) == b"bytes of m/data/0"
    check_sums(path, members)


def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(saved({"a": 1}))
    members = read_directory(path)
    assert {member.name.split("/", 1)[1] for member in members} >= {"data.pkl", "version", "byteorder"}
    check_sums(path, members)


def test_the_long_end_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(_long_end())
    assert len(read_directory(path)) == 2


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(_archive().replace(b"bytes of m/data/0", b"bytes of m/data/1"))
    with pytest.raises(Rejected, match=r"checksum of m/data/0"):
        check_sums(path, read_directory(path))


def test_a_member_past_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(_archive())
    with pytest.raises(Rejected, match="more than the 3 allowed"):
        read_member(path, read_directory(path)[0], 3)

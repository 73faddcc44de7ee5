"""Zip archives in which two readers see two different things, around a checkpoint that is good in itself."""

import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from scripts.corpus.case import MLP, Canary, Case, Trap
from scripts.corpus.weights import Member, members, raw_zip, saved, state

_GROUP = "zip tricks around a checkpoint"
_LINK = (stat.S_IFLNK | 0o777) << 16


def cases(canary: Canary) -> Iterator[Case]:
    """All of this file."""
    # What torch pads its records with is left out: nobody asks for it.
    good = [Member(name, content) for name, content in members(saved(state())).items()]
    yield Case(
        "good checkpoints", "a zip written by another program", partial(raw_zip, good), spec=MLP, expected="accepted"
    )
    trap = Trap(exec, canary.code).pickled
    for name, make in (_double(good, trap) | _lies(good) | _frames(good) | _sizes(good)).items():
        yield Case(_GROUP, name, make, spec=MLP)


def _with(good: list[Member], *more: Member) -> Callable[[], bytes]:
    return partial(raw_zip, [*good, *more])


def _changed(good: list[Member], suffix: str, **fields: object) -> Callable[[], bytes]:
    """With other facts about the member of that name."""
    return partial(raw_zip, [replace(m, **fields) if m.name.endswith(suffix) else m for m in good])  # type: ignore[arg-type]


def _double(good: list[Member], trap: bytes) -> dict[str, Callable[[], bytes]]:
    root = good[0].name.split("/")[0]
    pickled = next(m for m in good if m.name.endswith("data.pkl"))
    names = {
        "an absolute path": "/etc/cron.d/x",
        "a path upwards": f"{root}/../../x",
        "a backslash": f"{root}\\..\\x",
        "a drive": "C:/x",
        "a NUL in a name": f"{root}/data.pkl\0.txt",
        "a dot in a path": f"{root}/./data.pkl",
        "an empty folder name": f"{root}//data.pkl",
        "code": f"{root}/code/__init__.py",
        "a second top folder": "other/data.pkl",
        "a file without a folder": "data.pkl",
        "a very long name": f"{root}/data/{'x' * 60_000}",
    }
    return {name: _with(good, Member(path, trap)) for name, path in names.items()} | {
        "data.pkl twice, the trap last": _with(good, Member(pickled.name, trap)),
        "data.pkl twice, the trap first": partial(raw_zip, [Member(pickled.name, trap), *good]),
        "data.pkl and DATA.PKL": _with(good, Member(pickled.name.upper(), trap)),
        "a symbolic link": _with(good, Member(f"{root}/data/9", b"/etc/passwd", attributes=_LINK)),
        "a folder": _with(good, Member(f"{root}/data/", b"", attributes=0x10)),
        "a device": _with(good, Member(f"{root}/data/9", b"", attributes=(stat.S_IFCHR | 0o666) << 16)),
        "another name in the local header": _changed(good, "data.pkl", lie_name=pickled.name.replace("pkl", "txt")),
        "two names for one member": _with(good, Member(f"{root}/data/9", good[0].content, header=0)),
        "a version of a megabyte": _with(good, Member(f"{root}/.format_version", bytes(2**20))),
    }


def _lies(good: list[Member]) -> dict[str, Callable[[], bytes]]:
    wide = struct.pack("<2H2Q", 1, 16, 2**40, 2**40)
    return {
        "deflated members": partial(raw_zip, [replace(m, method=zipfile.ZIP_DEFLATED) for m in good]),
        "one deflated member": _changed(good, "data/0", method=zipfile.ZIP_DEFLATED),
        "a method that is none": _changed(good, "data/0", method=99),
        "an encrypted member": _changed(good, "data/0", flags=1),
        "a patched member": _changed(good, "data/0", flags=1 << 5),
        "a wrong checksum": _changed(good, "data/0", crc=1),
        "a wrong checksum in the local header": _changed(good, "data/0", lie_crc=1),
        "another size in the local header": _changed(good, "data/0", lie_size=4),
        "another size in the directory": _changed(good, "data/0", size=4, packed=4),
        "unpacked to 4 GB": _changed(good, "data/0", size=2**32 - 2),
        "a terabyte by zip64": _changed(good, "data/0", size=2**32 - 1, packed=2**32 - 1, extra=wide),
        "zip64 without its field": _changed(good, "data/0", size=2**32 - 1, packed=2**32 - 1),
        "a field of the wrong length": _changed(good, "data/0", extra=b"\x01\x00\xff\xff"),
        "a data descriptor that is not there": _changed(good, "data/0", flags=1 << 3, lie_size=0, lie_crc=0),
        "a data descriptor that lies": _changed(
            good, "data/0", flags=1 << 3, lie_size=0, lie_crc=0, descriptor=struct.pack("<4s3L", b"PK\x07\x08", 1, 2, 3)
        ),
        "headers that overlap": _changed(good, "data/1", header=8),
        "a header beyond the end": _changed(good, "data/1", header=2**31),
        "a header inside another member": _changed(good, "data/1", header=40),
    }


def _frames(good: list[Member]) -> dict[str, Callable[[], bytes]]:
    whole = raw_zip(good)
    return {
        "a program before the archive": partial(raw_zip, good, before=b"#!/bin/sh\ntrue\n"),
        "bytes behind the archive": partial(raw_zip, good, after=bytes(100)),
        "a second archive behind it": lambda: whole + whole,
        "a comment": partial(raw_zip, good, comment=b"PK\x05\x06" + bytes(18)),
        "a gap": _changed(good, "data/0", gap=bytes(1000)),
        "more members than there are": partial(raw_zip, good, count=60_000),
        "fewer members than there are": partial(raw_zip, good, count=1),
        "no members": partial(raw_zip, good, count=0),
        "a directory somewhere else": partial(raw_zip, good, offset=0),
        "a directory beyond the end": partial(raw_zip, good, offset=2**31),
        "an empty archive": partial(raw_zip, []),
        "cut off": lambda: whole[:-30],
        "half of it": lambda: whole[: len(whole) // 2],
        "fifty thousand members": partial(raw_zip, [Member(f"a/data/{i}", b"") for i in range(50_000)]),
    }


def _sizes(good: list[Member]) -> dict[str, Callable[[], bytes]]:
    def storage(content: bytes) -> Callable[[], bytes]:
        return partial(raw_zip, [Member(m.name, content) if m.name.endswith("data/0") else m for m in good])

    return {
        "a storage that is too short": storage(bytes(4)),
        "a storage that is too long": storage(bytes(4_000_000)),
        "a storage that is missing": partial(raw_zip, [m for m in good if not m.name.endswith("data/0")]),
        "no data.pkl": partial(raw_zip, [m for m in good if not m.name.endswith("data.pkl")]),
        "another byte order": partial(raw_zip, [Member(m.name, b"big") if "byteorder" in m.name else m for m in good]),
    }

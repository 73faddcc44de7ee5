"""True weights of a small network, and the containers that checkpoints come in, made byte by byte where need be.

The raw writer of zip archives can say in each record what is not so.
"""

import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worker.students import mlp

#: How torch's format from before 1.6 starts.
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
_SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def state() -> dict[str, torch.Tensor]:
    """Weights of a perceptron: 4 features, 5 hidden, 3 classes."""
    torch.manual_seed(0)
    return dict(mlp.build((4,), 3, hidden=[5]).state_dict())


def saved(content: Any, *, legacy: bool = False) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def members(archive: bytes) -> dict[str, bytes]:
    """The files of a zip archive of ours."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {info.filename: opened.read(info) for info in opened.infolist()}


def in_zip(data_pkl: bytes, storages: Mapping[str, bytes] | None = None, **others: bytes) -> bytes:
    """A checkpoint of today's form around a pickle."""
    files = {"data.pkl": data_pkl, "byteorder": b"little", "version": b"3\n"} | others
    files |= {f"data/{key}": content for key, content in (storages or {}).items()}
    return raw_zip([Member(f"archive/{name}", content) for name, content in files.items()])


def in_legacy(pickled: bytes, keys: Sequence[str] = (), storages: bytes = b"") -> bytes:
    """A checkpoint of the old form around a pickle."""
    return LEGACY + pickle.dumps(_SYSTEM, 2) + pickled + pickle.dumps(list(keys), 2) + storages


def in_tar(pickled: bytes) -> bytes:
    """A checkpoint of the form before that."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in {
            "sys_info": pickle.dumps(_SYSTEM, 2),
            "pickle": pickled,
            "storages": b"",
            "tensors": b"",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def safetensors(header: Mapping[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, whose length is said to be `length`."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@dataclass(frozen=True)
class Member:
    """A member of a zip archive. What is None is as it should be; `lie_*` stands in its local header alone."""

    name: str
    content: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    extra: bytes = b""
    attributes: int = 0
    lie_name: str | None = None
    lie_size: int | None = None
    lie_crc: int | None = None
    descriptor: bytes = b""
    gap: bytes = b""
    #: Place of the header, where it is another member's.
    header: int | None = None

    @property
    def body(self) -> bytes:
        """The content as it is stored."""
        if self.method != zipfile.ZIP_DEFLATED:
            return self.content
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.content) + packer.flush()


def raw_zip(
    entries: Sequence[Member],
    *,
    before: bytes = b"",
    after: bytes = b"",
    count: int | None = None,
    offset: int | None = None,
    comment: bytes = b"",
) -> bytes:
    """The archive; `count` and `offset` are what its end record says of members and directory."""
    out, directory = bytearray(before), bytearray()
    for entry in entries:
        out += entry.gap
        at = len(out) if entry.header is None else entry.header
        out += _local(entry) if entry.header is None else b""
        directory += _central(entry, at)
    start = len(out) if offset is None else offset
    number = len(entries) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, number, number, len(directory), start, len(comment))
    return bytes(out + directory + end + comment + after)


def _local(entry: Member) -> bytes:
    name = (entry.name if entry.lie_name is None else entry.lie_name).encode()
    crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
    crc = crc if entry.lie_crc is None else entry.lie_crc
    size = len(entry.content) if entry.lie_size is None else entry.lie_size
    packed = len(entry.body) if entry.lie_size is None else entry.lie_size
    fields = (20, entry.flags, entry.method, 0, 33, crc, packed, size, len(name), len(entry.extra))
    return struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + name + entry.extra + entry.body + entry.descriptor


def _central(entry: Member, at: int) -> bytes:
    name = entry.name.encode()
    crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
    size = len(entry.content) if entry.size is None else entry.size
    packed = len(entry.body) if entry.packed is None else entry.packed
    fields = (20 | 3 << 8, 20, entry.flags, entry.method, 0, 33, crc, packed, size, len(name), len(entry.extra))
    return struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields, 0, 0, 0, entry.attributes, at) + name + entry.extra

"""What kind of file an upload is, by its content: a suffix says what someone hoped.

Known forms that are no weights are named, with what to hand in instead.
"""

import tarfile
from enum import StrEnum
from pathlib import Path

from core.errors import Rejected
from worker.intake import legacy
from worker.intake.pickle_walk import MAX_PICKLE_BYTES, SAVE_INSTEAD, first_import

_ANOTHER_MAKE = "Export the model to ONNX and hand it in with the architecture onnx."
_UNPACK = "Unpack it and upload the checkpoint itself."

#: Magic bytes at an offset, what they mean, and what to do.
_FORMS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", _ANOTHER_MAKE),
    (0, b"\x93NUMPY", "a NumPy array", SAVE_INSTEAD),
    (0, b"GGUF", "a GGUF file", SAVE_INSTEAD),
    (4, b"TFL3", "a TensorFlow Lite model", _ANOTHER_MAKE),
    (0, b"\x89PNG", "a PNG image", SAVE_INSTEAD),
    (0, b"\xff\xd8\xff", "a JPEG image", SAVE_INSTEAD),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for", "Run `git lfs pull` first."),
    (0, b"<!DOCTYPE", "a web page", "Fetch the file itself; the server gave a page in its place."),
    (0, b"<html", "a web page", "Fetch the file itself; the server gave a page in its place."),
)

#: Largest header that a safetensors file may have: about a hundred bytes a tensor are needed.
MAX_HEADER_BYTES = 16 * 2**20


class Container(StrEnum):
    """The forms that are read."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch zip"
    TORCH_LEGACY = "torch before 1.6"
    ONNX = "ONNX"


def sniff(path: Path) -> Container:
    """The container of the upload. Raises Rejected for all that is none of them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise Rejected(f"The file is empty. {SAVE_INSTEAD}", code="empty")
    for at, magic, what, remedy in _FORMS:
        if head[at : at + len(magic)] == magic:
            raise Rejected(f"The file is {what}. {remedy}", code="not_a_checkpoint")
    # A file can be a tar archive and something else at once, and torch tries tar first.
    if _starts_as_tar(head):
        raise Rejected(f"The file is a tar archive, or torch's format from before 0.1.10. {SAVE_INSTEAD}", code="tar")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Container.TORCH_ZIP
    if head.startswith(legacy.MAGIC):
        return Container.TORCH_LEGACY
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and size > 8:
        if not 2 <= header <= min(MAX_HEADER_BYTES, size - 8):
            raise Rejected(
                f"The safetensors header claims {header:,} bytes, the file has {size:,}: it was cut off or is "
                "damaged. Save it again and upload it anew.",
                code="damaged",
            )
        return Container.SAFETENSORS
    if _looks_like_onnx(head):
        return Container.ONNX
    raise _not_known(path)


def _starts_as_tar(head: bytes) -> bool:
    """The first block has the checksum that tar readers go by."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _looks_like_onnx(head: bytes) -> bool:
    """ModelProto: field 1 is the IR version, a small number; then any of its other fields, 2 to 25 (onnx.proto3)."""
    return head[0] == 0x08 and len(head) > 2 and 1 <= head[1] <= 32 and 2 <= head[2] >> 3 <= 25


def _not_known(path: Path) -> Rejected:
    with path.open("rb") as file:
        data = file.read(MAX_PICKLE_BYTES)
    if (found := first_import(data)) is not None:
        name, position = found
        return Rejected(
            f"The file is a bare pickle that refers to {name!r} at byte {position:,}, which is code and no part of a "
            f"tensor. It was not loaded. {SAVE_INSTEAD}",
            code="pickle_code",
        )
    if data[:1] == b"\x80" and data[1:2] in (b"\1", b"\2", b"\3", b"\4", b"\5"):
        return Rejected(
            f"The file is a bare pickle, not a checkpoint. It was not loaded. {SAVE_INSTEAD}", code="bare_pickle"
        )
    return Rejected(
        f"The file is neither a torch checkpoint nor safetensors nor ONNX. {SAVE_INSTEAD}", code="not_a_checkpoint"
    )

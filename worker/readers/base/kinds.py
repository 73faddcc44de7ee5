"""What a file is, by its first bytes. Names and suffixes lie; where nothing else helps they break a tie.

Numbers: the file signatures of each format's own specification; a tar header carries a checksum at offset 148
(POSIX.1-1988, ustar); an IDX file starts with two zero bytes, a type code and a number of dimensions.
"""

import re
from collections.abc import Callable
from typing import Literal

Kind = Literal["zip", "tar", "gz", "xz", "bz2", "parquet", "npy", "idx", "image", "wav", "text", "refused", "unknown"]

#: Enough for every signature, the tar header included.
HEAD_BYTES = 4096

_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bz2"),
    (b"PAR1", "parquet"),
    (b"\x93NUMPY", "npy"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
)
_REFUSED = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "Zstandard-compressed",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"%PDF-": "a PDF document",
    b"SQLite format 3\x00": "an SQLite database",
    b"ARROW1": "an Arrow IPC file",
}
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
#: The plain one, and two kin that are told to become it: big-endian, and for more than 4 GiB.
_WAV_FORMS = (b"RIFF", b"RIFX", b"RF64")
_BMP = re.compile(rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL)
_PNM = re.compile(rb"P[1-6]\s+(#|\d+\s)")
_IDX = re.compile(rb"\x00\x00[\x08\x09\x0b-\x0e][\x01-\x04]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def kind_of(head: bytes) -> Kind:
    """The kind of a file that starts with `head` (HEAD_BYTES of it, or all)."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if refusal_of(head):
        return "refused"
    if is_tar_header(head):
        return "tar"
    return next((kind for kind, looks_so in _LOOKS if looks_so(head)), "unknown")


def refusal_of(head: bytes) -> str | None:
    """What a file is that nothing here reads, in words that fit after "The upload is"."""
    if _PICKLE.match(head):
        return "a Python pickle, which is a program and is never opened here"
    return next((name for signature, name in _REFUSED.items() if head.startswith(signature)), None)


def is_tar_header(head: bytes) -> bool:
    """Whether the first 512 bytes are a tar header: their sum, the checksum's own field read as blanks, fits."""
    if len(head) < 512:
        return False
    block, stated = head[:512], head[148:156].strip(b"\x00 ")
    if not re.fullmatch(rb"[0-7]+", stated):
        return False
    return sum(block) - sum(block[148:156]) + 8 * 0x20 == int(stated, 8)


def wide_text(head: bytes) -> str | None:
    """The name of the UTF-16 or UTF-32 codec that `head` is written in, None for text of single bytes.

    Without a byte order mark, UTF-16 shows by zeros in every other byte, as Latin letters have them.
    """
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.3 * len(head) and even == 0:
        return "utf-16-le"
    if even > 0.3 * len(head) and odd == 0:
        return "utf-16-be"
    return None


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _is_wav(head: bytes) -> bool:
    return head[:4] in _WAV_FORMS and head[8:12] == b"WAVE"


def _is_text(head: bytes) -> bool:
    return bool(head) and (wide_text(head) is not None or _CONTROL.search(head) is None)


#: What no signature tells, in the order in which it is asked.
_LOOKS: tuple[tuple[Kind, Callable[[bytes], object]], ...] = (
    ("image", _is_webp),
    ("image", _BMP.match),
    ("image", _PNM.match),
    ("wav", _is_wav),
    ("idx", _IDX.match),
    ("text", _is_text),
)

"""Text of any common encoding to UTF-8: byte order marks, UTF-16 and UTF-32, Windows-1252, and files that mix.

A file that is not UTF-8 throughout is read line by line: a line that is no UTF-8 is Windows-1252, which is what
"latin-1" means in practice. The five bytes that Windows-1252 leaves open are read as ISO 8859-1 has them.
"""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import Rejected
from worker.readers.base.case import Case
from worker.readers.base.kinds import HEAD_BYTES, wide_text

_CHUNK = 2**20
_UNASSIGNED = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
#: What Windows-1252 has where ISO 8859-1 has control characters.
_WINDOWS = {code: bytes((code,)).decode("cp1252") for code in range(0x80, 0xA0) if code not in _UNASSIGNED}


@dataclass(frozen=True, slots=True)
class Text:
    """A file of UTF-8 without a byte order mark. encoding: what it was written in, for the report."""

    path: Path
    name: str
    encoding: str


def as_utf8(path: Path, name: str, case: Case) -> Text:
    """Raises: Rejected where the file holds NUL characters, so is no text."""
    with path.open("rb") as file:
        wide = wide_text(file.read(HEAD_BYTES))
    if wide:
        return Text(_decoded(path, name, wide, case), name, wide)
    if _is_utf8(path):
        with path.open("rb") as file:
            if not file.read(3).startswith(codecs.BOM_UTF8):
                return Text(path, name, "utf-8")
        return Text(_decoded(path, name, "utf-8-sig", case), name, "utf-8 with a byte order mark")
    target, encoding = _by_lines(path, case)
    if encoding == "mixed":
        case.warned("encoding", f"{name} mixes UTF-8 and Windows-1252; each line is read as what it is.")
    return Text(target, name, encoding)


def first_lines(text: Text, max_bytes: int) -> str:
    """The beginning of a text, cut at a line's end."""
    with text.path.open("rb") as file:
        return _whole_lines(file, max_bytes).decode("utf-8", "replace")


def text_of(data: bytes) -> str | None:
    """A small file as text: UTF-8, UTF-16 or UTF-32 as its beginning says, else Windows-1252; None where it is none."""
    wide = wide_text(data[:HEAD_BYTES])
    try:
        text = data.decode(wide or "utf-8-sig").removeprefix("\ufeff")
    except UnicodeDecodeError:
        if wide:
            return None
        text = _from_windows(data).decode()
    return None if "\x00" in text else text


def check_no_nul(text: Text) -> None:
    """Raises: Rejected where a NUL character occurs: cells cannot hold one, and the database could not store it."""
    with text.path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if b"\x00" in chunk:
                raise Rejected(f"{text.name} holds NUL characters; it is not a text file.", code="encoding")


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _decoded(path: Path, name: str, codec: str, case: Case) -> Path:
    target = case.new_scratch()
    decoder = codecs.getincrementaldecoder(codec)()
    with path.open("rb") as file, target.open("wb") as out:
        try:
            while chunk := file.read(_CHUNK):
                out.write(decoder.decode(chunk).encode("utf-8"))
            out.write(decoder.decode(b"", final=True).encode("utf-8"))
        except UnicodeError as error:
            raise Rejected(
                f"{name} begins as {codec} but is not: {error}. Save it as UTF-8.", code="encoding"
            ) from error
    return target


def _by_lines(path: Path, case: Case) -> tuple[Path, str]:
    target = case.new_scratch()
    has_utf8 = False
    with path.open("rb") as file, target.open("wb") as out:
        for line in iter(lambda: file.readline(_CHUNK), b""):
            plain = line.removeprefix(codecs.BOM_UTF8) if file.tell() == len(line) else line
            try:
                plain.decode("utf-8")
                has_utf8 = has_utf8 or not plain.isascii()
                out.write(plain)
            except UnicodeDecodeError:
                out.write(_from_windows(plain))
    return target, "mixed" if has_utf8 else "windows-1252"


def _from_windows(line: bytes) -> bytes:
    return line.decode("latin-1").translate(_WINDOWS).encode("utf-8")


def _whole_lines(file: BinaryIO, max_bytes: int) -> bytes:
    head = file.read(max_bytes)
    if len(head) < max_bytes:
        return head
    return head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head

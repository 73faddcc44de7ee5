"""The engine's events.jsonl as a durable queue: a line is behind us once the database has it, not once it was read.

So an outage of the database loses nothing and costs no memory: the lines wait on disk, in order.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = tuple[str, dict[str, Any]]

#: Read at once. A line that is longer is none of the engine's.
_CHUNK_BYTES = 256 * 1024
#: When the engine wrote a line, and when its process began: kept with the line, for the row's own time is a later one.
_TIMES = ("at", "began")

log = logging.getLogger(__name__)


@dataclass
class Tail:
    """Reads whole lines from `path`; `done(end)` moves past those that are safe elsewhere."""

    path: Path
    offset: int = 0

    def size(self) -> int:
        """Bytes that the engine has written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read(self) -> tuple[list[Line], int]:
        """The next whole lines, and the offset at their end."""
        if self.size() <= self.offset:
            return [], self.offset
        with self.path.open("rb") as file:
            file.seek(self.offset)
            chunk = file.read(_CHUNK_BYTES)
        whole = chunk.rfind(b"\n") + 1
        if not whole and len(chunk) == _CHUNK_BYTES:
            log.warning("%s: %d bytes at %d hold no line and are left out", self.path, len(chunk), self.offset)
            return [], self.offset + len(chunk)
        lines = [_parse(raw) for raw in chunk[:whole].split(b"\n") if raw]
        return [line for line in lines if line is not None], self.offset + whole

    def done(self, end: int) -> None:
        """The lines up to the offset `end` are in the database."""
        self.offset = end


def _parse(raw: bytes) -> Line | None:
    """One line; numbers that are not finite become null, which is how JSON says it."""
    try:
        event = json.loads(raw, parse_constant=lambda _: None)
        kind, data = event["type"], {**event["data"], **{name: event[name] for name in _TIMES if name in event}}
    except (ValueError, KeyError, TypeError):
        kind, data = None, None
    if isinstance(kind, str) and isinstance(data, dict):
        return kind, data
    log.warning("this line of the engine is no event and is left out: %r", raw[:200])
    return None


def end_of(path: Path, num_bytes: int = 64 * 1024) -> str:
    """The end of a text file, whole lines where there is more; empty where there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - num_bytes))
            text = file.read().decode(errors="replace").replace("\x00", "\ufffd")
    except FileNotFoundError:
        return ""
    return text.partition("\n")[2] if size > num_bytes else text

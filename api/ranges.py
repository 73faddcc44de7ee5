"""Conditional and range requests for what has a strong ETag (RFC 9110, sections 13 and 14)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import PreconditionFailed

_SINGLE = re.compile(r"^bytes=\s*(\d*)-(\d*)\s*$", re.ASCII)


@dataclass(frozen=True)
class Part:
    """Bytes `start` up to but without `end` of a file of `size`."""

    start: int
    end: int
    size: int

    @property
    def is_whole(self) -> bool:
        """True where it is all of the file."""
        return self.start == 0 and self.end == self.size


class Unsatisfiable(Exception):
    """A range that lies outside the file."""


def not_modified(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the caller has this already (If-None-Match). PreconditionFailed where it wants another (If-Match)."""
    if (match := headers.get("if-match")) is not None and not _lists(match, etag):
        raise PreconditionFailed(f"The ETag is {etag} and If-Match asks for {match[:200]}; fetch it from the start")
    return _lists(headers.get("if-none-match", ""), etag, weakly=True)


def _lists(header: str, etag: str, *, weakly: bool = False) -> bool:
    tags = [tag.strip() for tag in header.split(",")]
    return tags == ["*"] or etag in ([tag.removeprefix("W/") for tag in tags] if weakly else tags)


def wanted(headers: Mapping[str, str], etag: str, size: int) -> Part:
    """The part that a Range header asks for.

    The whole file where there is none, where it is not one range of bytes, or where If-Range names another version: a
    server may always answer so. Unsatisfiable where the range starts beyond the end.
    """
    whole = Part(0, size, size)
    asked = _SINGLE.match(headers.get("range", ""))
    if asked is None or headers.get("if-range", etag).strip() != etag:
        return whole
    first, last = asked.groups()
    if not first and not last:
        return whole
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return whole
    if start >= size or start >= end:
        raise Unsatisfiable
    return Part(start, end, size)

"""If-Match on what changes a thing (RFC 9110, section 13.1.1): it is done to the version that the caller has seen.

The check and the change are one transaction that holds the row, so that nothing comes in between.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Header

from core.errors import PreconditionFailed

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=2000,
        description="An ETag of this thing: only that version is changed, another one is answered 412. "
        "Left out, or `*`: whichever version there is.",
    ),
]


def require_match(header: str | None, etag: str, *, same: Callable[[str, str], bool] | None = None) -> None:
    """PreconditionFailed where If-Match names other versions. A weak tag never matches; `same` compares strong ones."""
    if header is None:
        return
    given = [tag.strip() for tag in header.split(",")]
    equal = same or str.__eq__
    if "*" not in given and not any(equal(tag, etag) for tag in given):
        raise PreconditionFailed(
            f"The ETag is {etag} now and If-Match asks for {header[:200]}; fetch the thing anew, then decide"
        )

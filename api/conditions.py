"""If-Match on what changes a thing (RFC 9110, section 13.1.1): it is done to the version that the caller has seen.

The check and the change are one transaction that holds the row, so that nothing comes in between.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header

from core.errors import PreconditionFailed

TAG = '(?:W/)?"[!#-~]*"'
_TAGS = rf"^(?:\*|{TAG}(?:, ?{TAG})*)$"
_CONDITION = {"type": "string", "maxLength": 2000, "pattern": _TAGS}

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=2000,
        description="An ETag of this thing: only that version is changed, another one is answered 412. "
        "Left out, or `*`: whichever version there is.",
        # Told and not kept: what is no list of tags matches nothing, and is answered 412 as that is.
        json_schema_extra={"pattern": _TAGS},
    ),
]


def _header(name: str, description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": False, "description": description, "schema": schema, **more}


_READING = [
    _header("If-None-Match", "Known ETags of this thing: 304 where it is still one of these.", {"type": "string"}),
    _header("If-Match", "An ETag of this thing: another version is answered 412.", _CONDITION),
]
#: What a GET of one thing takes, for its `openapi_extra`.
ON_GET: dict[str, Any] = {"parameters": _READING}
#: What a download takes. A Range that cannot be read is passed over, as RFC 9110 has it: then the whole file comes.
ON_DOWNLOAD: dict[str, Any] = {
    "parameters": [
        *_READING,
        _header("Range", "One range of bytes.", {"type": "string"}, example="bytes=0-1023"),
        _header("If-Range", "The ETag that Range is meant for; else the whole file comes.", {"type": "string"}),
    ]
}


def require_match(header: str | None, etag: str, *, same: Callable[[str, str], bool] | None = None) -> None:
    """PreconditionFailed where If-Match names other versions. A weak tag never matches; `same` compares strong ones."""
    if header is None:
        return
    given = [tag.strip() for tag in header.split(",")]
    equal = same or str.__eq__
    if given != ["*"] and not any(equal(tag, etag) for tag in given):
        raise PreconditionFailed(
            f"The ETag is {etag} now and If-Match asks for {header[:200]}; fetch the thing anew, then decide"
        )

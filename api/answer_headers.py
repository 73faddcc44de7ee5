"""The headers of answers, for the OpenAPI document: what a client may count on, by operation and status."""

from typing import Any

from api import tus
from api.conditions import TAG

Header = dict[str, Any]


def _header(description: str, *, sure: bool = True, **schema: Any) -> Header:
    return {"description": description, "required": sure, "schema": {"type": "string", **schema}}


_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0}

#: Each is told once; `sure` ones are in every such answer.
_HEADERS: dict[str, Header] = {
    "X-Request-Id": _header("As `request_id` of a problem; the service's log has it too.", sure=False),
    "Retry-After": _header(
        "Seconds after which the same request may work, where time alone helps.", sure=False, type="integer", minimum=1
    ),
    "WWW-Authenticate": _header("`Bearer`"),
    "Location": _header("Where the new thing is."),
    "ETag": _header("The version of this thing, for If-Match and If-None-Match.", pattern=f"^{TAG}$"),
    "Idempotent-Replayed": _header(
        "`true` where this answer was given before to the same Idempotency-Key.", sure=False, enum=["true"]
    ),
    "Accept-Ranges": _header("`bytes`", enum=["bytes"]),
    "Content-Disposition": _header("An attachment, and its name."),
    "Content-Range": _header("Which bytes, of how many."),
    "Repr-Digest": _header("The SHA-256 of the whole file, as RFC 9530 has it."),
    "Tus-Resumable": _header("The version that is spoken.", enum=[tus.VERSION]),
    "Tus-Version": _header("The versions that are spoken.", enum=[tus.VERSION]),
    "Tus-Extension": _header("What is spoken beside the core of it."),
    "Tus-Max-Size": _header("The greatest file, in bytes.", **_NUMBER),
    "Tus-Checksum-Algorithm": _header("What Upload-Checksum takes."),
    "Upload-Offset": _header("So many bytes have arrived: the next part starts there.", **_NUMBER),
    "Upload-Expires": _header("When it is removed unless it goes on."),
    "Upload-Length": _header("Bytes of the whole file, where it was said.", sure=False, **_NUMBER),
    "Upload-Defer-Length": _header("`1` where the length was not said yet.", sure=False, enum=["1"]),
    "Upload-Metadata": _header("As it was sent.", sure=False),
    tus.UPLOAD: _header("The id of the upload, once it is whole.", sure=False),
}

_MADE = ("Location", "ETag")
_FILE = ("ETag", "Accept-Ranges", "Repr-Digest", "Content-Disposition")
_PROGRESS = ("Tus-Resumable", "Upload-Offset", "Upload-Expires", tus.UPLOAD)
_LENGTHS = ("Upload-Length", "Upload-Defer-Length", "Upload-Metadata")

#: Of good answers, by operation and status.
_GOOD: dict[tuple[str, str], tuple[str, ...]] = {
    **{(f"create_{noun}", "201"): _MADE for noun in ("job", "teacher", "dataset", "upload", "webhook")},
    ("retry_job", "201"): _MADE,
    **{(f"{verb}_job", "202"): ("ETag",) for verb in ("cancel", "pause", "resume")},
    **{(f"recheck_{noun}", "202"): ("ETag",) for noun in ("teacher", "dataset")},
    **{
        (f"get_{noun}", status): ("ETag",)
        for noun in ("job", "teacher", "dataset", "upload", "webhook")
        for status in ("200", "304")
    },
    ("change_webhook", "200"): ("ETag",),
    ("rotate_webhook", "200"): ("ETag",),
    **{
        (f"download_{what}", status): headers
        for what in ("student", "artifact")
        for status, headers in {
            "200": _FILE, "206": (*_FILE, "Content-Range"), "304": ("ETag",), "416": ("Content-Range",),
        }.items()
    },
    ("describe_resumable_uploads", "204"): (
        "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm",
    ),
    ("begin_resumable_upload", "201"): ("Location", *_PROGRESS),
    ("get_resumable_upload", "200"): (*_PROGRESS, *_LENGTHS),
    ("continue_resumable_upload", "204"): _PROGRESS,
    ("end_resumable_upload", "204"): ("Tus-Resumable",),
    **{(f"{verb}_resumable_upload", "412"): ("Tus-Version",) for verb in ("begin", "get", "continue", "end")},
}  # fmt: skip

#: Of answers of a status, whatever the operation.
_BY_STATUS = {
    "401": ("WWW-Authenticate",),
    "409": ("Retry-After",),
    "423": ("Retry-After",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


def tell(document: dict[str, Any]) -> None:
    """Add them to the document, in place."""
    document["components"]["headers"] = dict(sorted(_HEADERS.items()))
    for operations in document["paths"].values():
        for operation in operations.values():
            kept = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
            for status, answer in operation["responses"].items():
                names = [
                    "X-Request-Id",
                    *_GOOD.get((operation["operationId"], status), ()),
                    *_BY_STATUS.get(status, ()),
                ]
                names += ["Idempotent-Replayed"] if kept and status < "300" else []
                answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}

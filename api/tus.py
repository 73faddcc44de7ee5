"""What tus 1.0.0 says in headers, read and written (https://tus.io/protocols/resumable-upload)."""

import base64
import hashlib
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.errors import BodyRefused, of_error
from api.idempotency import Replayed
from core.errors import Malformed, PreconditionFailed, RequestError, UnsupportedMedia
from core.settings import settings
from models.tables import ResumableUpload

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination"
ALGORITHMS = ("sha1", "sha256")
MEDIA_TYPE = "application/offset+octet-stream"
#: Of the caller's metadata: two file names of the greatest length, and some more.
MAX_METADATA = 4096
#: What a header may hold; the document says it, and what is read is held to it.
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_PAIR = f"[!-+.-~-]+(?: {_BASE64})?"
METADATA = f"^(?:{_PAIR}(?:, ?{_PAIR})*)?$"
CHECKSUM = "^(?:sha1 [A-Za-z0-9+/]{27}=|sha256 [A-Za-z0-9+/]{43}=)$"
#: The greatest number of bytes that a header can say.
MAX_NUMBER = 10**18 - 1
#: Tells a client the upload that was made of what it has sent.
UPLOAD = "Distillery-Upload"


class TusRoute(APIRoute):
    """A route that speaks tus: every answer says so, errors included, and another version is refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler between a check of the version and the headers."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                if request.method != "OPTIONS":
                    _check_version(request.headers.get("tus-resumable"))
                answer = await handle(request)
            except BodyRefused as refused:
                answer = of_error(refused.error)
            except RequestError as error:
                answer = of_error(error)
            except Replayed as replayed:
                answer = replayed.response
            answer.headers["Tus-Resumable"] = VERSION
            if answer.status_code == 412:
                answer.headers["Tus-Version"] = VERSION
            return answer

        return handler


def _check_version(said: str | None) -> None:
    if said != VERSION:
        raise PreconditionFailed(f"Send the header `Tus-Resumable: {VERSION}`, the version that is spoken here")


def abilities() -> dict[str, str]:
    """What OPTIONS answers with."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(settings().max_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


@dataclass(frozen=True)
class Metadata:
    """The caller's Upload-Metadata, and the file name in it."""

    said: str
    filename: str


def metadata(header: str | None) -> Metadata:
    """Pairs of a key and a base64 value, divided by commas. Malformed where it is not that."""
    said = (header or "").strip()
    if len(said) > MAX_METADATA:
        raise Malformed.at("Upload-Metadata:", f"takes at most {MAX_METADATA} characters")
    if re.fullmatch(METADATA, said) is None:
        raise Malformed.at("Upload-Metadata:", "holds pairs `key BASE64` divided by commas")
    pairs = (pair.strip(" ").partition(" ") for pair in said.split(","))
    # Values are whatever bytes the caller likes; of a name, what can be read is kept.
    found = {key: base64.b64decode(value).decode(errors="replace") for key, _, value in pairs}
    return Metadata(said, found.get("filename") or found.get("name") or "upload")


def number(headers: Mapping[str, str], name: str) -> int | None:
    """A count of bytes in a header; Malformed where it is none."""
    said = headers.get(name)
    if said is None:
        return None
    if not (said.isascii() and said.isdecimal() and len(said) < 19):
        raise Malformed.at(f"{name}:", "must be a number of bytes")
    return int(said)


def length(headers: Mapping[str, str]) -> int | None:
    """What Upload-Length says; Malformed where that is nothing."""
    said = number(headers, "Upload-Length")
    if said == 0:
        raise Malformed.at("Upload-Length:", "An upload without bytes is no file", code="empty_body")
    return said


def first_length(headers: Mapping[str, str]) -> int | None:
    """The length of an upload that begins, None where it is to be said later. Malformed without one of the two."""
    deferred = headers.get("upload-defer-length")
    if deferred not in {None, "1"}:
        raise Malformed.at("Upload-Defer-Length:", "is 1 or left out")
    said = length(headers)
    if (said is None) == (deferred is None):
        raise Malformed.at("Upload-Length:", "Send Upload-Length, or Upload-Defer-Length: 1 where it is not known yet")
    return said


@dataclass(frozen=True)
class Checksum:
    """What a part must hash to."""

    algorithm: str
    digest: bytes

    def start(self) -> Any:
        """A hash to update."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def checksum(headers: Mapping[str, str]) -> Checksum | None:
    """The header Upload-Checksum, where there is one; Malformed where it cannot be read."""
    said = headers.get("upload-checksum")
    if said is None:
        return None
    if re.fullmatch(CHECKSUM, said.strip()) is None:
        raise Malformed.at(
            "Upload-Checksum:", f"takes {' or '.join(ALGORITHMS)}, then a space and the base64 of the whole hash"
        )
    algorithm, _, value = said.strip().partition(" ")
    return Checksum(algorithm, base64.b64decode(value))


def check_media_type(headers: Mapping[str, str]) -> None:
    """UnsupportedMedia where the body is not said to be a part."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UnsupportedMedia(f"A part comes with `Content-Type: {MEDIA_TYPE}`")


def state(row: ResumableUpload) -> dict[str, str]:
    """Where an upload is: its offset, when it expires, and what was made of it once it is whole."""
    found = {
        "Upload-Offset": str(row.received),
        "Upload-Expires": format_datetime(row.expires_at.astimezone(UTC), usegmt=True),
    }
    if row.completed_at is not None:
        found[UPLOAD] = row.id
    return found

"""What tus 1.0.0 says in headers, read and written (https://tus.io/protocols/resumable-upload)."""

import base64
import binascii
import hashlib
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
_MAX_METADATA = 4096
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
    said = header or ""
    if len(said) > _MAX_METADATA:
        raise Malformed.at("Upload-Metadata:", f"takes at most {_MAX_METADATA} characters")
    found: dict[str, str] = {}
    for pair in said.split(",") if said.strip() else []:
        key, _, value = pair.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            found[key] = ""
        if not key or (value and not found[key]):
            message = "holds pairs `key BASE64` divided by commas, each value the base64 of UTF-8 text"
            raise Malformed.at("Upload-Metadata:", message)
    return Metadata(said, found.get("filename") or found.get("name") or "upload")


def number(headers: Mapping[str, str], name: str) -> int | None:
    """A count of bytes in a header; Malformed where it is none."""
    said = headers.get(name)
    if said is None:
        return None
    if not (said.isascii() and said.isdecimal() and len(said) < 19):
        raise Malformed.at(f"{name}:", "must be a number of bytes")
    return int(said)


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
    algorithm, _, value = said.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise Malformed.at(
            "Upload-Checksum:", f"takes {' or '.join(ALGORITHMS)}, then a space and the base64 of the hash"
        )
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise Malformed.at("Upload-Checksum:", f"must hold the base64 of a whole {algorithm}")
    return Checksum(algorithm, digest)


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

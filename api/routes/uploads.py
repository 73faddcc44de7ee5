"""Uploads: raw bytes of any size, streamed to storage in constant memory and hashed on the way."""

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from api import quotas
from api.callers import Who
from api.conditions import ON_GET
from api.deps import get
from api.errors import documented, of_error
from api.idempotency import Once, Post
from api.schemas import UploadView
from api.views import tag_of, upload_view, with_etag
from core import db
from core.errors import InFlight, Malformed, TooLarge
from core.ids import new_id
from core.incoming import cleaned, record
from core.settings import settings
from core.storage import Stored, storage
from models.tables import Upload

router = APIRouter(prefix="/uploads", tags=["uploads"])

DIGEST = "^sha-256=:[A-Za-z0-9+/]{43}=:$"
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself, not a form.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    },
    "parameters": [
        {
            "in": "header",
            "name": "Content-Digest",
            "required": False,
            "description": "RFC 9530: `sha-256=:` and the base64 of the hash and `:`. A body that differs is refused.",
            "schema": {"type": "string", "pattern": DIGEST},
            "example": "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
        }
    ],
}


@router.post(
    "",
    status_code=201,
    operation_id="create_upload",
    summary="Hand in a file",
    response_model=UploadView,
    responses=documented(400, 409, 413),
    openapi_extra=_BODY,
)
async def create_upload(
    request: Request,
    who: Who,
    once: Post,
    filename: Annotated[
        str, Query(max_length=1000, description="Kept as text, for people.", examples=["teacher.pth"])
    ] = "upload",
) -> Any:
    """Send the bytes as the body: `curl --data-binary @teacher.pth URL/uploads?filename=teacher.pth`.

    Equal bytes are stored once. A file may have any size up to the service's limit; it is hashed while it is written.
    With an Idempotency-Key, the body is the same where its bytes are; one that comes with its Content-Digest need not
    be stored again to be answered again. For connections that break, there is /uploads/resumable.
    """
    expected = _expected_sha256(request.headers.get("content-digest"))
    await asyncio.to_thread(db.ping)
    with _alone(once):
        if expected is not None:
            await asyncio.to_thread(once.replay, expected)
        return await _receive(request, who.owner, once, filename, expected)


#: Places of Idempotency-Keys whose upload arrives here now. Another process that is at the same one is told apart when
#: the first of them has its answer stored: see api.idempotency.
_arriving: set[tuple[str, str, str | None]] = set()


@contextmanager
def _alone(once: Once) -> Iterator[None]:
    """InFlight where an upload with the key is arriving. No lock of the database is held as long as a body comes."""
    if once.key is None:
        yield
        return
    if once.place in _arriving:
        raise InFlight("An upload with this Idempotency-Key is arriving; send this one again in a second")
    _arriving.add(once.place)
    try:
        yield
    finally:
        _arriving.discard(once.place)


async def _receive(request: Request, owner: str, once: Once, filename: str, expected: str | None) -> Response:
    try:
        bound = await asyncio.to_thread(_bound, request, owner)
        try:
            stored = await storage().receive(_chunks(request), max_bytes=bound.most, expected_sha256=expected)
        except TooLarge:
            # It came without a length: what ended it is whatever has the least room.
            raise bound.refusal from None
    except TooLarge as error:
        # The rest of the body is not wanted: the connection ends with the answer.
        return of_error(error, headers={"Connection": "close"})
    except ClientDisconnect:
        raise Malformed("The connection ended before the whole body was sent; nothing was kept") from None
    return await asyncio.to_thread(_record, owner, once, filename, stored)


def _bound(request: Request, owner: str) -> quotas.Bound:
    """How many bytes may come. TooLarge for a claimed length that is more; Malformed for a form."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise Malformed("Send the file itself as the body, not a form: with curl, --data-binary @file instead of -F")
    allowed = settings().max_upload_bytes
    room = max(0, storage().free_bytes() - settings().min_free_bytes)
    claimed = request.headers.get("content-length", "")
    size = int(claimed) if claimed.isdecimal() else 0
    if size > allowed:
        raise TooLarge(f"The body has {size} bytes; an upload is at most {allowed}")
    if size > room:
        raise TooLarge(f"The body has {size} bytes, more than the service's disk has room for", code="no_space")
    with db.session() as session:
        left = quotas.room(session, owner, size)
    bounds = [
        quotas.Bound(allowed, TooLarge(f"An upload is at most {allowed} bytes, and more came")),
        quotas.Bound(room, TooLarge("More came than the service's disk has room for", code="no_space")),
        *quotas.bound(owner, left),
    ]
    return min(bounds, key=lambda bound: bound.most)


def _expected_sha256(header: str | None) -> str | None:
    """The hash of a Content-Digest header (RFC 9530), in hex; other algorithms beside sha-256 are passed over."""
    if header is None:
        return None
    for member in header.split(","):
        name, _, value = member.strip().partition("=")
        if name.lower() == "sha-256" and (inside := re.fullmatch(r":([A-Za-z0-9+/=]+):", value)):
            try:
                digest = base64.b64decode(inside[1], validate=True)
            except binascii.Error:
                break
            if len(digest) == 32:
                return digest.hex()
    message = "must hold `sha-256=:BASE64:`, the base64 of the 32 bytes of the hash between two colons"
    raise Malformed.at("Content-Digest:", message)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body; Malformed where it is empty."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if chunk:
            yield chunk
    if not size:
        raise Malformed("The body is empty; send the bytes of the file", code="empty_body")


def _record(owner: str, once: Once, filename: str, stored: Stored) -> Response:
    with once.transaction(stored.sha256) as session:
        upload = record(session, new_id("upl"), owner, cleaned(filename), stored)
        quotas.check_stored(session, owner)
        view = upload_view(upload)
        return once.answer(view, location=f"/uploads/{upload.id}", etag=tag_of(view))


@router.get(
    "/{upload_id}",
    operation_id="get_upload",
    summary="One upload",
    response_model=UploadView,
    responses={304: {"description": "Not changed since the ETag in If-None-Match"}, **documented(404, 412)},
    openapi_extra=ON_GET,
)
def get_upload(upload_id: str, request: Request, who: Who) -> Any:
    """What was stored: its size and its sha256."""
    with db.session() as session:
        view = upload_view(get(session, Upload, who.owner, upload_id))
    return with_etag(request, view)

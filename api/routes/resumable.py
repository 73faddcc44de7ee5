"""Uploads in parts that survive broken connections: tus 1.0.0 (https://tus.io). What is whole is an upload as any."""

import asyncio
import hashlib
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from api import arriving, tus
from api.callers import Who
from api.errors import documented
from api.idempotency import Once, Post, Replayed
from api.tus import TusRoute
from core import incoming
from core.errors import Gone, Malformed, NotFound
from core.ids import new_id

router = APIRouter(prefix="/uploads/resumable", tags=["uploads"], route_class=TusRoute)

#: api.tus.TusRoute has looked at it before any of this is read: another one is answered 412.
Version = Annotated[
    str,
    Header(alias="Tus-Resumable", description="The version that is spoken.", json_schema_extra={"enum": [tus.VERSION]}),
]


def _header(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": required, "description": description, "schema": schema}


_PART: dict[str, Any] = {"content": {tus.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_CHECKSUM = _header(
    "Upload-Checksum",
    "`sha1` or `sha256`, a space, and the base64 of the part's hash. A part that differs is answered 460.",
    {"type": "string", "pattern": tus.CHECKSUM},
)


def _length(description: str) -> dict[str, Any]:
    return _header("Upload-Length", description, {"type": "integer", "minimum": 1})


_CREATION = {
    "requestBody": {**_PART, "required": False, "description": "The first part, where one comes along."},
    "parameters": [
        _length("Bytes of the whole file. It or Upload-Defer-Length is sent, and not both."),
        _header(
            "Upload-Defer-Length",
            "`1` where the length is not known yet; a later part says it.",
            {"type": "string", "enum": ["1"]},
        ),
        _header(
            "Upload-Metadata",
            "Pairs `key BASE64` divided by commas; `filename` is kept, for people.",
            {"type": "string", "maxLength": tus.MAX_METADATA, "pattern": tus.METADATA},
        ),
        _CHECKSUM,
    ],
}
_ADDITION = {
    "requestBody": {**_PART, "required": True, "description": "The part."},
    "parameters": [
        _header(
            "Upload-Offset",
            "Where the part starts: all that has arrived.",
            {"type": "integer", "minimum": 0, "maximum": tus.MAX_NUMBER},
            required=True,
        ),
        _CHECKSUM,
        _length("Bytes of the whole file, where it was not said before. Once it is known it cannot change."),
    ],
}


@router.options(
    "",
    status_code=204,
    operation_id="describe_resumable_uploads",
    summary="What of tus is spoken here",
    responses=documented(),
)
@router.options("/{upload_id}", status_code=204, include_in_schema=False)
def describe() -> Response:
    """Version, extensions, the greatest size and the checksums, in headers. No key is needed to ask."""
    return Response(status_code=204, headers=tus.abilities())


@router.post(
    "",
    status_code=201,
    operation_id="begin_resumable_upload",
    summary="Begin an upload in parts",
    response_class=Response,
    responses=documented(400, 408, 409, 412, 413, 415, 423, 460),
    openapi_extra=_CREATION,
)
async def begin_upload(request: Request, who: Who, once: Post, _version: Version) -> Response:
    """`Location` is where its parts go, and its last segment the id that the upload will have once it is whole.

    Any tus client does the rest: `tusclient.client.TusClient(URL + "/uploads/resumable").uploader("f.pth").upload()`.
    """
    headers = request.headers
    length, check = tus.first_length(headers), tus.checksum(headers)
    said = tus.metadata(headers.get("upload-metadata"))
    brings_part = "content-type" in headers or headers.get("content-length", "0") != "0"
    if brings_part:
        tus.check_media_type(headers)
    try:
        answer, upload_id = await asyncio.to_thread(_begin, who.owner, once, said, length)
    except Replayed as replayed:
        return await asyncio.to_thread(_begun, who.owner, replayed.response)
    if brings_part:
        return await _add(request, who.owner, upload_id, 0, None, check, answer)
    return answer


def _begun(owner: str, answer: Response) -> Response:
    """The first answer with how far the upload is now; what came along again is not taken."""
    with suppress(NotFound, Gone):
        answer.headers.update(tus.state(arriving.state(owner, answer.headers["Location"].rpartition("/")[2])))
    return answer


def _begin(owner: str, once: Once, said: tus.Metadata, length: int | None) -> tuple[Response, str]:
    request = hashlib.sha256(f"{length}\n{said.said}".encode()).hexdigest()
    with once.transaction(request) as session:
        arriving.check_room(session, owner, length or 0)
        row = incoming.begin(session, new_id("upl"), owner, said.said, said.filename, length)
        answer = once.respond("", {"Location": f"/uploads/resumable/{row.id}", **tus.state(row)})
    return answer, row.id


@router.head(
    "/{upload_id}",
    operation_id="get_resumable_upload",
    summary="How much of an upload has arrived",
    response_class=Response,
    responses=documented(404, 410, 412),
)
async def get_offset(upload_id: str, who: Who, _version: Version) -> Response:
    """`Upload-Offset` says where to go on; `Distillery-Upload` is the id of the upload once it is whole."""
    row = await asyncio.to_thread(arriving.state, who.owner, upload_id)
    headers = {**tus.state(row), "Cache-Control": "no-store"}
    headers |= {"Upload-Defer-Length": "1"} if row.length is None else {"Upload-Length": str(row.length)}
    headers |= {"Upload-Metadata": row.said} if row.said else {}
    return Response(headers=headers)


@router.patch(
    "/{upload_id}",
    status_code=204,
    operation_id="continue_resumable_upload",
    summary="Add a part to an upload",
    responses=documented(400, 404, 408, 409, 410, 412, 413, 415, 423, 460),
    openapi_extra=_ADDITION,
)
async def add_part(upload_id: str, request: Request, who: Who, _version: Version) -> Response:
    """What arrives stays, whether the connection breaks or the service does.

    409 `offset_differs` where the part does not start where the last one ended, 423 while another request adds to the
    same upload, 460 where the part is not what its checksum says. With the last part the file is hashed and becomes an
    upload: `Distillery-Upload` is its id.
    """
    tus.check_media_type(request.headers)
    offset = tus.number(request.headers, "Upload-Offset")
    if offset is None:
        raise Malformed.at("Upload-Offset:", "must say where the part starts; HEAD tells how much has arrived")
    length, check = tus.length(request.headers), tus.checksum(request.headers)
    return await _add(request, who.owner, upload_id, offset, length, check, Response(status_code=204))


async def _add(
    request: Request,
    owner: str,
    upload_id: str,
    offset: int,
    length: int | None,
    check: tus.Checksum | None,
    answer: Response,
) -> Response:
    with await asyncio.to_thread(arriving.opened, owner, upload_id) as parts:
        row = await asyncio.to_thread(arriving.begin, parts, owner, upload_id, offset, length)
        row = await arriving.receive(request, parts, row, check)
        if row.received == row.length:
            row = await asyncio.to_thread(arriving.finish, row)
    answer.headers.update(tus.state(row))
    return answer


@router.delete(
    "/{upload_id}",
    status_code=204,
    operation_id="end_resumable_upload",
    summary="End an upload in parts",
    responses=documented(404, 410, 412, 423),
)
async def end_upload(upload_id: str, who: Who, _version: Version) -> Response:
    """What has arrived is removed. An upload that was made of it stays."""
    await asyncio.to_thread(arriving.end, who.owner, upload_id)
    return Response(status_code=204)

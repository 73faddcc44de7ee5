"""What a job made: its files, with resumable downloads."""

import asyncio
import base64
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import Response, StreamingResponse

from api import ranges
from api.callers import Who
from api.conditions import ON_DOWNLOAD
from api.deps import get
from api.errors import documented, problem
from api.paging import ByName, Limit, cursor_of, name_in
from api.schemas import ArtifactList
from api.views import artifact_view
from core import db
from core.errors import NotFound, RangeNotSatisfiable, Unavailable
from core.storage import storage
from models.status import JobStatus
from models.tables import Artifact, Job

log = logging.getLogger("distillery.api")

router = APIRouter(prefix="/jobs/{job_id}", tags=["artifacts"])

STUDENT = "student.pth"

_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def _file(**more: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The answers of a download; `more` is of other media types than that of bytes."""
    content = {"application/octet-stream": _BYTES, **more}
    return {
        200: {"description": "The bytes, as an attachment; the ETag is the sha256", "content": content},
        206: {"description": "The bytes of the one range that was asked for", "content": content},
        304: {"description": "The caller has it already"},
        **documented(404, 412, 416),
    }


@router.get("/artifacts", operation_id="list_artifacts", summary="The files of a job", responses=documented(404))
def list_artifacts(job_id: str, who: Who, limit: Limit = 200, cursor: ByName = None) -> ArtifactList:
    """By name. Empty until the job has ended: files appear all at once, with the state."""
    with db.session() as session:
        job = get(session, Job, who.owner, job_id)
        query = select(Artifact).where(Artifact.job_id == job.id).order_by(Artifact.name).limit(limit + 1)
        if cursor is not None:
            query = query.where(Artifact.name > name_in(cursor))
        found = session.scalars(query).all()
    more = cursor_of(found[limit - 1].name) if len(found) > limit else None
    return ArtifactList(items=[artifact_view(artifact) for artifact in found[:limit]], next_cursor=more)


@router.head("/artifacts/{name}", include_in_schema=False)
@router.get(
    "/artifacts/{name}",
    operation_id="download_artifact",
    summary="Download a file of a job",
    response_class=StreamingResponse,
    responses=_file(**{"application/json": {"schema": {}}, "*/*": _BYTES}),
    openapi_extra=ON_DOWNLOAD,
)
async def download_artifact(job_id: str, name: str, request: Request, who: Who) -> Response:
    """HEAD, one Range and If-Range are understood, so that a download that broke off can go on where it was."""
    return await _download(who.owner, job_id, name, request)


@router.head(f"/{STUDENT}", include_in_schema=False)
@router.get(
    f"/{STUDENT}",
    operation_id="download_student",
    summary="Download the student",
    response_class=StreamingResponse,
    responses=_file(),
    openapi_extra=ON_DOWNLOAD,
)
async def download_student(job_id: str, request: Request, who: Who) -> Response:
    """A plain state_dict that `torch.load(weights_only=True)` opens; resumable as every file is."""
    return await _download(who.owner, job_id, STUDENT, request)


async def _download(owner: str, job_id: str, name: str, request: Request) -> Response:
    artifact = await asyncio.to_thread(_find, owner, job_id, name)
    etag = f'"{artifact.sha256}"'
    headers = _headers(artifact, etag)
    if ranges.not_modified(request.headers, etag):
        return Response(status_code=304, headers={"ETag": etag})
    try:
        part = ranges.wanted(request.headers, etag, artifact.size)
    except ranges.Unsatisfiable:
        detail = f"The file has {artifact.size} bytes; ask for a range that starts before its end"
        return problem(
            RangeNotSatisfiable.status,
            RangeNotSatisfiable.code,
            RangeNotSatisfiable.title,
            detail,
            headers={"Content-Range": f"bytes */{artifact.size}"},
        )
    headers["Content-Length"] = str(part.end - part.start)
    if not part.is_whole:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{part.size}"
    status = 200 if part.is_whole else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=artifact.media_type)
    body = await asyncio.to_thread(_opened, artifact, part)
    return StreamingResponse(body, status_code=status, headers=headers, media_type=artifact.media_type)


def _find(owner: str, job_id: str, name: str) -> Artifact:
    with db.session() as session:
        job = get(session, Job, owner, job_id)
        artifact = session.get(Artifact, (job.id, name)) if "\x00" not in name else None
        if artifact is not None:
            return artifact
        status = JobStatus(job.status)
        names = list(session.scalars(select(Artifact.name).where(Artifact.job_id == job.id).order_by(Artifact.name)))
    if not status.is_terminal:
        message = f"The job is {status}; its files appear when it has ended. GET /jobs/{job.id}/events tells when"
        raise NotFound(message, code="not_ready_yet")
    has = f"it has: {', '.join(names)}" if names else f"it is {status} and has no files"
    raise NotFound(f"The job has no file `{name[:100]}`; {has}")


def _opened(artifact: Artifact, part: ranges.Part) -> Iterator[bytes]:
    try:
        return storage().read(artifact.storage_key, part.start, part.end)
    except NotFound as error:
        log.exception("an artifact's file is gone: %s", artifact.storage_key)
        message = f"The file `{artifact.name}` is missing in the storage; tell whoever runs the service"
        raise Unavailable(message, code="missing_file") from error


def _headers(artifact: Artifact, etag: str) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(artifact.name, safe='')}",
        # The file of a name never changes once the job has ended, but a job may be deleted.
        "Cache-Control": "private, no-cache",
    }

"""What a job did: its events as a list or as a stream, its learning curves, its log."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from api import history, streams
from api.callers import Who
from api.errors import documented
from api.schemas import EventList, Metrics
from api.seats import SeatedStream
from core import db

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])

#: One event of a stream, as its fields id, event and data.
_SENT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Its number."},
        "event": {"type": "string", "description": "Its type."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventView"},
        },
    },
}

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events; as a stream where the request accepts text/event-stream",
        "content": {streams.MEDIA_TYPE: {"schema": _SENT}},
    },
    204: {"description": "Stream only: the job has ended and all its events were seen; do not connect again"},
}


@router.get(
    "/events",
    operation_id="list_events",
    summary="What has happened to a job",
    response_model=EventList,
    responses={**_STREAM, **documented(404)},
)
async def list_events(
    job_id: str,
    request: Request,
    who: Who,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Only events numbered above this.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events at most; a stream has no end but the job's.")] = 200,
    last_event_id: Annotated[
        int | None,
        Header(alias="Last-Event-ID", ge=0, lt=2**63, description="Stream only: goes on after this; browsers send it."),
    ] = None,
) -> Any:
    """Events are numbered from 1 without gaps. With `Accept: text/event-stream` the same rows come as a stream.

    The stream sends what there is, then each event as it happens, and closes after the last one of the job.
    """
    if streams.MEDIA_TYPE not in request.headers.get("accept", ""):
        part = await run_in_threadpool(streams.read, who.owner, job_id, after, limit)
        return EventList(items=list(part.events), next_after=part.events[-1].seq if part.events else after)
    start = last_event_id if last_event_id is not None else after
    first = await run_in_threadpool(streams.read, who.owner, job_id, start, 1)
    if last_event_id is not None and first.ended and not first.events:
        return Response(status_code=204)
    state = request.app.state
    text = streams.stream(state.bell, state.reader, state.pace, who.owner, job_id, start)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return SeatedStream(state.seats, who.owner, text, streams.MEDIA_TYPE, headers)


@router.get("/metrics", operation_id="get_metrics", summary="The learning curves of a job", responses=documented(404))
def get_metrics(
    job_id: str,
    who: Who,
    points: Annotated[int, Query(ge=2, le=5000, description="At most so many for each run, spread evenly.")] = 500,
) -> Metrics:
    """One point an epoch for the student, and for the student trained alone where the job trains one."""
    with db.session() as session:
        return history.metrics(session, who.owner, job_id, points)


@router.get(
    "/logs",
    operation_id="get_logs",
    summary="The end of a job's log",
    response_class=PlainTextResponse,
    responses=documented(404),
)
def get_logs(
    job_id: str,
    who: Who,
    lines: Annotated[int, Query(ge=1, le=10_000, description="So many of the last lines.")] = 200,
) -> str:
    """Plain text: what the newest attempt printed."""
    with db.session() as session:
        return history.log_tail(session, who.owner, job_id, lines)

"""A job's events as server-sent events: the rows of the table, each once, in order, until the job has ended.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from api import history
from api.bell import Bell
from api.errors import DATABASE_DOWN
from api.schemas import EventView
from core import db
from core.errors import NotFound

MEDIA_TYPE = "text/event-stream"

_BATCH = 500


@dataclass(frozen=True)
class Pace:
    """How often a stream does something by itself, in seconds."""

    #: A comment keeps proxies from closing a quiet connection, and finds out that a client has gone.
    heartbeat_s: float = 15.0
    #: A look at the table, should a notification be lost.
    poll_s: float = 5.0


def read(job_id: str, after: int, limit: int = _BATCH) -> history.Slice:
    """Some events, in a transaction of their own."""
    with db.session() as session:
        return history.events(session, job_id, after, limit)


def _read_patiently(job_id: str, after: int) -> history.Slice:
    """As `read`. A database that is away gives nothing for now: a browser that is sent away does not come back."""
    try:
        return read(job_id, after)
    except DATABASE_DOWN:
        return history.Slice([], ended=False)
    except NotFound:  # deleted meanwhile
        return history.Slice([], ended=True)


async def stream(bell: Bell, pace: Pace, job_id: str, after: int) -> AsyncIterator[str]:
    """The text of the stream. It starts with a comment, so that the headers go out at once."""
    yield ": events of a job; the id is the number of the event\nretry: 2000\n\n"
    spoke_at = time.monotonic()
    async with bell.heard(job_id) as rung:
        while not bell.closing:
            part = await run_in_threadpool(_read_patiently, job_id, after)
            for event in part.events:
                yield _text(event)
                after, spoke_at = event.seq, time.monotonic()
            if part.ended:
                return
            if len(part.events) == _BATCH:
                continue
            quiet_for = time.monotonic() - spoke_at
            if quiet_for >= pace.heartbeat_s:
                yield ": still here\n\n"
                spoke_at, quiet_for = time.monotonic(), 0.0
            await bell.wait(rung, min(pace.poll_s, pace.heartbeat_s - quiet_for))


def _text(event: EventView) -> str:
    return f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"

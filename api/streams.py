"""A job's events as server-sent events: the rows of the table, each once, in order, until the job has ended.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
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


def read(owner: str, job_id: str, after: int, limit: int = _BATCH) -> history.Slice:
    """Some events, in a transaction of their own."""
    with db.session() as session:
        return history.events(session, owner, job_id, after, limit)


def _read_patiently(owner: str, job_id: str, after: int) -> history.Slice:
    """As `read`. A database that is away gives nothing for now: a browser that is sent away does not come back."""
    try:
        return read(owner, job_id, after)
    except DATABASE_DOWN:
        return history.Slice([], ended=False)
    except NotFound:  # deleted meanwhile
        return history.Slice([], ended=True)


@dataclass(frozen=True)
class Part:
    """Events as the text of a stream, made once for all who listen."""

    text: str
    #: The number of the last event in it, or of the one before it where it is empty.
    last: int
    is_full: bool
    ended: bool


#: The job, the event after which to read, the ring that it answers.
_Question = tuple[str, int, int | None]


class Reader:
    """Reads events for all streams of a process: who asks the same at the same time gets one answer of one query.

    A thousand listeners of a job are woken together by one change of it. Used from one event loop.
    """

    def __init__(self, pace: Pace) -> None:
        self._fresh_s = pace.poll_s / 2
        self._asked: dict[str, tuple[_Question, float, asyncio.Task[Part]]] = {}

    async def read(self, owner: str, job_id: str, after: int, ring: int | None) -> Part:
        """What follows `after`. An answer that is younger than half a poll is given again until the bell rings.

        Whoever asks has been found to be the job's owner, which never changes: one answer is for all who listen.
        """
        question = (job_id, after, ring)
        known, at, reading = self._asked.get(job_id, (None, 0.0, None))
        if reading is None or known != question or time.monotonic() - at > self._fresh_s:
            reading = asyncio.create_task(run_in_threadpool(_part, owner, job_id, after))
            self._asked[job_id] = question, time.monotonic(), reading
        # One who goes away must not take the answer along.
        return await asyncio.shield(reading)

    def forget(self, job_id: str) -> None:
        """Nobody listens to the job any more."""
        self._asked.pop(job_id, None)


async def stream(bell: Bell, reader: Reader, pace: Pace, owner: str, job_id: str, after: int) -> AsyncIterator[str]:
    """The text of the stream. It starts with a comment, so that the headers go out at once."""
    yield ": events of a job; the id is the number of the event\nretry: 2000\n\n"
    spoke_at = time.monotonic()
    try:
        async with bell.heard(job_id) as rung:
            while not bell.closing:
                part = await reader.read(owner, job_id, after, bell.last_ring(job_id))
                if part.text:
                    yield part.text
                    after, spoke_at = part.last, time.monotonic()
                if part.ended:
                    return
                if part.is_full:
                    continue
                quiet_for = time.monotonic() - spoke_at
                if quiet_for >= pace.heartbeat_s:
                    yield ": still here\n\n"
                    spoke_at, quiet_for = time.monotonic(), 0.0
                await bell.wait(rung, min(pace.poll_s, pace.heartbeat_s - quiet_for))
    finally:
        if bell.last_ring(job_id) is None:
            reader.forget(job_id)


def _part(owner: str, job_id: str, after: int) -> Part:
    found = _read_patiently(owner, job_id, after)
    text = "".join(_text(event) for event in found.events)
    last = found.events[-1].seq if found.events else after
    return Part(text, last, len(found.events) == _BATCH, found.ended)


def _text(event: EventView) -> str:
    return f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"

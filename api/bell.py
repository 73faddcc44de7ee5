"""One LISTEN connection a process, whatever the number of event streams: it wakes the streams of the job that changed.

A notification is only a hint; streams look by themselves now and then, so a lost one costs a few seconds.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import psycopg

from core import db
from core.errors import Unavailable
from core.jobs import CHANNEL

_RECONNECT_S = 2.0

log = logging.getLogger("distillery.api")


class Bell:
    """Wakes those who wait for a job. Used from one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._rings: dict[str, int] = {}
        self._count = count()
        self._listener: asyncio.Task[None] | None = None
        self._hears: bool | None = None
        self.closing = False

    def start(self) -> None:
        """Listen, now and after every loss of the connection."""
        self._listener = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening and let every stream end."""
        self.close()
        if self._listener:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener

    def close(self) -> None:
        """Wake all streams for the last time: they see `closing` and end, so that a shutdown need not wait for them."""
        self.closing = True
        for job_id in list(self._waiting):
            self._ring(job_id)

    async def wait(self, rung: asyncio.Event, timeout_s: float) -> None:
        """Until the bell rings or the time is up."""
        with suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), timeout_s)
        rung.clear()

    @asynccontextmanager
    async def heard(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the job changes."""
        rung = asyncio.Event()
        self._waiting[job_id].add(rung)
        self._rings.setdefault(job_id, next(self._count))
        try:
            yield rung
        finally:
            self._waiting[job_id].discard(rung)
            if not self._waiting[job_id]:
                del self._waiting[job_id], self._rings[job_id]

    def last_ring(self, job_id: str) -> int | None:
        """A number for the job's last change: larger after each, and None where nobody waits for it."""
        return self._rings.get(job_id)

    def _ring(self, job_id: str) -> None:
        if job_id in self._rings:
            self._rings[job_id] = next(self._count)
        for rung in self._waiting.get(job_id, ()):
            rung.set()

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (psycopg.OperationalError, Unavailable) as error:
                if self._hears is not False:
                    log.warning("event streams fall back to polling until the database answers: %s", error)
                self._hears = False
            await asyncio.sleep(_RECONNECT_S)

    async def _listen_once(self) -> None:
        url = db.database_url().set(drivername="postgresql")
        connection = await psycopg.AsyncConnection.connect(
            url.render_as_string(hide_password=False),
            autocommit=True,
            connect_timeout=5,
            application_name="distillery-events",
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._hears = True
            # What came while nobody listened was not heard: everyone looks once.
            for job_id in list(self._waiting):
                self._ring(job_id)
            async for notification in connection.notifies():
                self._ring(notification.payload)

"""Why an attempt should stop: its lease is lost, the user wishes it, or the worker is going away."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from sqlalchemy import select

from core import db, jobs
from core.jobs import Claim, LeaseLost
from core.settings import Settings
from models.status import LEASED, Desired, JobStatus
from models.tables import Job
from worker import drain
from worker.pulse import Pulse


class Halt(StrEnum):
    """What an attempt ends as when it is asked to; the values are those of `core.jobs.stop`."""

    CANCELLED = "cancelled"
    PAUSED = "paused"
    DRAINED = "drained"


class Halted(Exception):
    """Raised by `check` between two pieces of work."""

    def __init__(self, halt: Halt) -> None:
        super().__init__(halt.value)
        self.halt = halt


_HALTS = {Desired.CANCEL: Halt.CANCELLED, Desired.PAUSE: Halt.PAUSED}
_WISHES = {JobStatus.CANCELLING: Desired.CANCEL, JobStatus.PAUSING: Desired.PAUSE}


class Watch:
    """The newest wish for one claim, kept up to date by its pulse."""

    def __init__(self, claim: Claim, patience_s: float) -> None:
        self._claim = claim
        self._patience_s = patience_s
        self._leave_at: float | None = None
        self._wish = Desired.RUN
        self.pulse: Pulse

    @property
    def halt(self) -> Halt | None:
        """What to end as; None: go on. Raises LeaseLost where there is nothing left to end."""
        if self.pulse.is_lost:
            raise LeaseLost(self._claim.job_id)
        return _HALTS.get(self._wish) or (Halt.DRAINED if drain.requested() else None)

    def check(self) -> None:
        """Raise Halted or LeaseLost where this attempt should stop."""
        if (halt := self.halt) is not None:
            raise Halted(halt)

    def check_lease(self) -> None:
        """Raise LeaseLost; wishes wait, because what is going on is how the attempt ends.

        A worker that is going away waits for a database that is away no longer than it would wait for a child: the
        lease ends by itself.
        """
        _ = self.halt
        if drain.requested():
            self._leave_at = self._leave_at or time.monotonic() + self._patience_s
            if time.monotonic() > self._leave_at:
                raise LeaseLost(self._claim.job_id)

    def beat(self) -> None:
        """Extend the lease."""
        with db.session() as session:
            self._wish = jobs.heartbeat(session, self._claim)

    def look(self) -> None:
        """Read the wish: a beat writes a row, so it is not made twice a second."""
        mine = (Job.id == self._claim.job_id, Job.lease_token == self._claim.token, Job.status.in_(LEASED))
        # Twice a second for days: without BEGIN and COMMIT it costs half.
        with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            status = connection.scalar(select(Job.status).where(*mine))
        if status is None:
            raise LeaseLost(self._claim.job_id)
        self._wish = _WISHES.get(status, Desired.RUN)


@contextmanager
def watching(claim: Claim, settings: Settings) -> Iterator[Watch]:
    """Hold the lease and watch for wishes for the time of the block."""
    watch = Watch(claim, settings.drain_grace_s)
    # Within a second by default: a wish is rare, and each look costs the machine that trains.
    look_s = min(2 * settings.watch_s, settings.heartbeat_s)
    watch.pulse = Pulse(watch.beat, settings.heartbeat_s, LeaseLost, look=watch.look, look_s=look_s)
    with watch.pulse:
        yield watch

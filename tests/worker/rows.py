"""How the tests of the worker take a job and read what became of it."""

from collections.abc import Callable
from typing import Any

from core import db, jobs
from core.jobs import Claim
from core.settings import settings
from models.tables import Attempt, Event, Job
from worker.devices import CPU
from worker.stage import Bench

SCRIPTED = Bench(CPU, 1, "tests.worker.scripted")

Script = list[list[Any]]
"""What a child does: see tests/worker/scripted.py."""

Submit = Callable[..., str]
"""The fixture `submit`: scripts, one for each attempt, and limits by name; it gives the job's id."""


def claim(job_id: str) -> Claim:
    """Take the job, as a worker does."""
    with db.session() as session:
        taken = jobs.claim(session, worker="test", lease_s=settings().lease_s, job_id=job_id)
    assert taken is not None
    return taken


def job(job_id: str) -> Job:
    """The job as it stands in the database."""
    with db.session() as session:
        return session.get_one(Job, job_id)


def attempt(job_id: str, number: int) -> Attempt:
    """One of its attempts."""
    with db.session() as session:
        return session.get_one(Attempt, (job_id, number))


def events(job_id: str, type_: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Its history, in order; its numbers have no gap."""
    with db.session() as session:
        rows = session.query(Event).where(Event.job_id == job_id).order_by(Event.seq).all()
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    return [(row.type, row.data) for row in rows if type_ in {None, row.type}]

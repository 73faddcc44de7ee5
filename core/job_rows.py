"""The guarded writes on which core.jobs stands: an UPDATE that names what it expects, and the events that belong to it.

Only core.jobs stands on it, so that a reader of that file sees every change of a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.webhooks import announce
from models.status import LEASED, MOVES, TERMINAL, Desired, JobStatus
from models.tables import Event, Job, Json

#: LISTEN on it for ids of jobs that have changed.
CHANNEL = "distillery_events"

#: What webhooks are told of, and how it is called there.
_TOLD = {status: status.value for status in (*TERMINAL, JobStatus.PAUSED)} | {JobStatus.RUNNING: "started"}

Line = tuple[str, Json]
"""The type of an event and its data."""


class LeaseLost(Exception):
    """The attempt is no longer the job's: stop at once, write nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a job, until its lease ends."""

    job_id: str
    attempt: int
    token: str
    lease_s: float


def held_by(claim: Claim) -> list[ColumnElement[bool]]:
    """True of the job's row as long as the claim's attempt owns it."""
    return [
        Job.id == claim.job_id,
        Job.attempt == claim.attempt,
        Job.lease_token == claim.token,
        Job.status.in_(LEASED),
    ]


def locked(session: Session, claim: Claim) -> Job:
    """The job that the claim owns, its row locked; LeaseLost where it owns it no more."""
    query = select(Job).where(*held_by(claim)).with_for_update()
    job = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise LeaseLost(claim.job_id)
    return job


def by_id(session: Session, job_id: str) -> Job:
    """The job, its row locked; NotFound where there is none."""
    query = select(Job).where(Job.id == job_id).with_for_update()
    job = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def wish(session: Session, job: Job, desired: Desired) -> Job:
    """Write down what the user wants of a locked job, without a change of its state."""
    if job.desired is desired:
        return job
    written = write(session, [Job.id == job.id], [], {"desired": desired})
    assert written is not None, "its row is locked"
    return written


def move(session: Session, job: Job, to: JobStatus, lines: Sequence[Line], **values: Any) -> Job:
    """The one place where a state changes."""
    assert to in MOVES[job.status], f"{job.status} -> {to}"
    moved = write(session, [Job.id == job.id, Job.status == job.status], lines, {"status": to, **values})
    assert moved is not None, "its row is locked"
    if (said := _TOLD.get(to)) and (to is not JobStatus.RUNNING or moved.attempt == 1):
        announce(session, moved.owner, "job", moved.id, said)
    return moved


def write(
    session: Session, where: Sequence[ColumnElement[bool]], lines: Sequence[Line], values: dict[str, Any]
) -> Job | None:
    """One guarded UPDATE and the events that belong to it; None where the guard does not hold."""
    written = session.scalars(
        update(Job)
        .where(*where)
        .values(version=Job.version + 1, event_seq=Job.event_seq + len(lines), **values)
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()
    if written is not None:
        append_events(session, written, lines)
    return written


def append_events(session: Session, job: Job, lines: Sequence[Line]) -> None:
    """Number the lines up to the job's event_seq, which its UPDATE has raised; wake whoever listens at the commit."""
    first = job.event_seq - len(lines) + 1
    rows = [
        {"job_id": job.id, "seq": first + index, "attempt": job.attempt, "type": type_, "data": data}
        for index, (type_, data) in enumerate(lines)
    ]
    if rows:
        session.execute(insert(Event), rows)
    session.execute(select(func.pg_notify(CHANNEL, job.id)))


def with_arithmetic(found: Json) -> ColumnElement[Any]:
    """The job's spec with how its networks compute; what an earlier attempt has put there goes before."""
    before = func.coalesce(Job.spec["arithmetic"], cast({}, JSONB))
    return func.jsonb_set(Job.spec, cast(["arithmetic"], ARRAY(Text)), cast(found, JSONB).op("||")(before))


def from_now(seconds: float) -> ColumnElement[Any]:
    """A moment by the database's clock."""
    return func.now() + literal(timedelta(seconds=seconds))

"""How the end of an attempt becomes the next state of its job; used by core.jobs alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db import storable_text
from core.errors import Deadline, JobFailure
from core.job_rows import from_now, move
from models.status import Desired, JobStatus
from models.tables import Artifact, Attempt, Job, Json

_LOG_CHARACTERS = 64_000
_LET_GO: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "phase": None}


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A file that is stored, and becomes visible with the end of the job."""

    name: str
    storage_key: str
    size: int
    sha256: str
    media_type: str


def finish(session: Session, job: Job, to: JobStatus, ran_s: float, data: Json, **values: Any) -> Job:
    """The job's last move, after an attempt that ran for so long."""
    ran = {"ran_s": Job.ran_s + ran_s, "finished_at": func.now()}
    return move(session, job, to, [(to.value, data)], **_LET_GO, **ran, **values)


def try_again(session: Session, job: Job, error: JobFailure, ran_s: float, *, wait_s: float) -> Job:
    """Back to the queue while attempts are left and nobody wishes the job to end."""
    if job.status is JobStatus.CANCELLING:
        return finish(session, job, JobStatus.CANCELLED, ran_s, {"reason": error.code})
    used = attempts_used(job)
    if used >= job.max_attempts:
        told = {**error.as_dict(), "detail": f"{error.detail} That was attempt {used} of {job.max_attempts}."}
        return finish(session, job, JobStatus.FAILED, ran_s, told, error=told)
    waiting = {"queued_at": from_now(wait_s)} if wait_s else {}
    return put_back(session, job, ran_s, error.code, error=error, **waiting)


def put_back(
    session: Session, job: Job, ran_s: float, reason: str, *, error: JobFailure | None = None, **values: Any
) -> Job:
    """To the queue, or to rest where the user wishes that; a job whose time is used up ends.

    It keeps its place in the queue, `queued_at`, unless a value says otherwise.
    """
    allowed_s = job.spec["limits"]["max_seconds"]
    if job.ran_s + ran_s >= allowed_s:
        late = Deadline(f"The job ran for {allowed_s} s in all: raise limits.max_seconds, or train less.").as_dict()
        return finish(session, job, JobStatus.FAILED, ran_s, late, error=late, **values)
    data: Json = {"reason": reason, "attempt": job.attempt}
    if error is not None:
        data["error"] = error.as_dict()
    rests = job.desired is Desired.PAUSE
    to, kind = (JobStatus.PAUSED, "paused") if rests else (JobStatus.QUEUED, "requeued")
    return move(session, job, to, [(kind, data)], **_LET_GO, ran_s=Job.ran_s + ran_s, **values)


def attempts_used(job: Job) -> int:
    """Attempts that count: drained and paused ones do not."""
    return job.attempt - job.attempts_forgiven


def end_attempt(
    session: Session,
    job: Job,
    outcome: str,
    *,
    exit_code: int | None = None,
    log: str | None = None,
    error: JobFailure | None = None,
) -> float:
    """Close the attempt's row; return the seconds it ran. A lost one ran until its lease ended, as far as we know."""
    values: dict[str, Any] = {"outcome": outcome, "exit_code": exit_code, "error": error and error.as_dict()}
    if log is not None:
        values["log"] = log_tail(log)
    end = func.least(func.now(), job.lease_expires_at) if outcome == "lost" else func.now()
    # A clock that was set back must not take back seconds that were run.
    write_attempt(session, job, ended_at=func.greatest(Attempt.started_at, end), **values)
    ran = select(func.extract("epoch", Attempt.ended_at - Attempt.started_at))
    return float(session.execute(ran.where(Attempt.job_id == job.id, Attempt.number == job.attempt)).scalar_one())


def write_attempt(session: Session, job: Job, **values: Any) -> None:
    """Change the row of the running attempt, whose job is locked."""
    this = (Attempt.job_id == job.id, Attempt.number == job.attempt)
    session.execute(update(Attempt).where(*this).values(**values).execution_options(synchronize_session=False))


def log_tail(log: str) -> str:
    """As much of a log as is kept in the database."""
    return storable_text(log[-_LOG_CHARACTERS:])


def publish(session: Session, job: Job, artifacts: Iterable[NewArtifact]) -> None:
    """Rows for the files of the attempt that ends the job."""
    session.add_all(
        Artifact(
            job_id=job.id,
            name=made.name,
            attempt=job.attempt,
            storage_key=made.storage_key,
            size=made.size,
            sha256=made.sha256,
            media_type=made.media_type,
        )
        for made in artifacts
    )
    session.flush()

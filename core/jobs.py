"""Every change of a job's state; docs/jobs.md tells it in prose. Nothing else writes jobs, attempts, events, artifacts.

Each function works in the caller's transaction and is made for a short one. Writes of an attempt are guarded by
(job, attempt, lease token): a worker that lost its lease changes nothing and gets LeaseLost. Whoever changes a job
holds its row's lock, so its events are numbered without gaps however many write.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db import storable_text
from core.errors import Conflict, Deadline, Infra, JobFailure
from core.ids import new_id
from core.job_rows import (
    CHANNEL,
    Claim,
    LeaseLost,
    Line,
    append_events,
    by_id,
    from_now,
    held_by,
    locked,
    move,
    wish,
    write,
)
from core.settings import settings
from models.spec.job import JobSpec
from models.status import LEASED, Desired, FailureClass, JobStatus, Phase
from models.tables import Artifact, Attempt, Job, Json

__all__ = [
    "CHANNEL",
    "Claim",
    "LeaseLost",
    "Line",
    "NewArtifact",
    "Swept",
    "attempt_of",
    "claim",
    "delete",
    "fail",
    "heartbeat",
    "record",
    "request_cancel",
    "request_pause",
    "request_resume",
    "retry",
    "stale_queued",
    "stop",
    "submit",
    "succeed",
    "sweep",
]

_SWEEP_LOCK = 0x0D157112
_SWEEP_ROWS = 200
_LOG_CHARACTERS = 64_000


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A file that is stored, and becomes visible with the end of the job."""

    name: str
    storage_key: str
    size: int
    sha256: str
    media_type: str


@dataclass(slots=True)
class Swept:
    """What one sweep did: ids by the state that each job came to. `leader` is False where another one sweeps."""

    leader: bool = True
    moved: dict[JobStatus, list[str]] = field(default_factory=dict)


# --- making one ---


def submit(
    session: Session,
    spec: JobSpec,
    *,
    retry_of: str | None = None,
    retry_from: str | None = None,
    checkpoint: Json | None = None,
) -> Job:
    """A new queued job with its spec resolved. The caller has checked that teacher and data set are ready."""
    resolved = spec.resolved()
    job = Job(
        id=new_id("job"),
        name=resolved.name,
        labels=resolved.labels,
        spec=resolved.model_dump(mode="json"),
        teacher_id=resolved.teacher.id,
        dataset_id=resolved.dataset,
        max_attempts=resolved.limits.max_attempts,
        retry_of=retry_of,
        retry_from=retry_from,
        checkpoint=checkpoint,
        version=1,
        event_seq=1,
    )
    session.add(job)
    session.flush()
    append_events(session, job, [("queued", {} if retry_of is None else {"retry_of": retry_of, "from": retry_from})])
    session.refresh(job)
    return job


# --- an attempt, as its worker writes it ---


def claim(
    session: Session, *, worker: str, lease_s: float, job_id: str | None = None, token: str | None = None
) -> Claim | None:
    """Take the oldest queued job, or the one named; None where there is none to take.

    A caller that makes the token itself can find out by `attempt_of` whether a commit went through whose answer it
    did not get.
    """
    token = token or secrets.token_hex(16)
    wanted = [Job.status == JobStatus.QUEUED, Job.queued_at <= func.now()]
    if job_id is not None:
        wanted.append(Job.id == job_id)
    best = select(Job).where(*wanted).order_by(Job.queued_at, Job.id).limit(1)
    job = session.scalars(
        best.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    ).one_or_none()
    if job is None:
        return None
    number = job.attempt + 1
    job = move(
        session,
        job,
        JobStatus.RUNNING,
        [("started", {"attempt": number, "worker": worker})],
        attempt=number,
        lease_token=token,
        lease_expires_at=from_now(lease_s),
        phase=Phase.STAGING,
        started_at=func.coalesce(Job.started_at, func.now()),
    )
    session.add(Attempt(job_id=job.id, number=number, worker=worker, lease_token=token))
    session.flush()
    return Claim(job.id, number, token, lease_s)


def heartbeat(session: Session, claim: Claim) -> Desired:
    """Extend the lease; return what is wished of the job."""
    row = session.execute(
        update(Job)
        .where(*held_by(claim))
        .values(lease_expires_at=from_now(claim.lease_s))
        .returning(Job.status)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        raise LeaseLost(claim.job_id)
    # A wish that was taken back while its attempt is being ended still ends the attempt: see request_resume.
    return {JobStatus.CANCELLING: Desired.CANCEL, JobStatus.PAUSING: Desired.PAUSE}.get(row.status, Desired.RUN)


def record(
    session: Session,
    claim: Claim,
    lines: Sequence[Line],
    *,
    phase: str | None = None,
    progress: Json | None = None,
    checkpoint: Json | None = None,
    lines_read: int | None = None,
    log: str | None = None,
) -> None:
    """Add events of the running attempt, and what they say of the job as a whole.

    `lines_read`: how many lines of the attempt's are stored once this is committed. `log`: the end of the child's
    output so far.
    """
    of_job = {"phase": phase, "progress": progress, "checkpoint": checkpoint}
    job = write(session, held_by(claim), lines, _given(of_job))
    if job is None:
        raise LeaseLost(claim.job_id)
    of_attempt: dict[str, Any] = {} if lines_read is None else {"lines_read": lines_read}
    if log is not None:
        of_attempt["log"] = _log_tail(log)
    if of_attempt:
        _attempt_values(session, job, **of_attempt)


def succeed(session: Session, claim: Claim, *, result: Json, artifacts: Iterable[NewArtifact], log: str) -> Job:
    """End the job well and make its artifacts visible."""
    job = locked(session, claim)
    _publish(session, job, artifacts)
    ran_s = _end_attempt(session, job, "succeeded", exit_code=0, log=log)
    return _finish(session, job, JobStatus.SUCCEEDED, ran_s, {}, result=result)


def fail(session: Session, claim: Claim, error: JobFailure, *, exit_code: int | None, log: str) -> Job:
    """End the attempt badly: an `infra` failure goes back to the queue while attempts are left, others end the job."""
    job = locked(session, claim)
    ran_s = _end_attempt(session, job, "failed", exit_code=exit_code, log=log, error=error)
    if error.failure is FailureClass.INFRA:
        return _try_again(session, job, error, ran_s, wait_s=settings().retry_wait_s * 2 ** (_attempts_used(job) - 1))
    return _finish(session, job, JobStatus.FAILED, ran_s, error.as_dict(), error=error.as_dict())


def stop(
    session: Session,
    claim: Claim,
    *,
    outcome: Literal["cancelled", "paused", "drained"],
    artifacts: Iterable[NewArtifact] = (),
    log: str,
    result: Json | None = None,
) -> Job:
    """End an attempt that was asked to stop. It was no fault of the job, so it does not count as an attempt.

    Artifacts and result (of a student that is not done) become visible where this cancels the job.
    """
    job = locked(session, claim)
    asked = {JobStatus.CANCELLING: {"cancelled", "paused"}, JobStatus.PAUSING: {"paused"}}
    assert outcome == "drained" or outcome in asked.get(job.status, ()), f"nobody asked for {outcome}"
    ran_s = _end_attempt(session, job, outcome, exit_code=None, log=log)
    if job.status is JobStatus.CANCELLING:
        _publish(session, job, artifacts)
        return _finish(session, job, JobStatus.CANCELLED, ran_s, {}, result=result)
    return _put_back(session, job, ran_s, outcome, attempts_forgiven=Job.attempts_forgiven + 1)


def attempt_of(session: Session, token: str, job_id: str | None = None) -> Attempt | None:
    """The attempt with that lease token: what to read after a COMMIT whose answer was lost.

    `outcome` None: it is running, and the claim can be used; a word: it has ended so, and that was committed.
    `lines_read` says which events are stored. None: the claim was never committed.
    """
    query = select(Attempt).where(Attempt.lease_token == token).execution_options(populate_existing=True)
    if job_id is not None:
        query = query.where(Attempt.job_id == job_id)
    return session.scalars(query).one_or_none()


# --- wishes of the user ---


def request_cancel(session: Session, job_id: str) -> Job:
    """At once where nothing runs, else by the worker within seconds. Conflict where the job has ended otherwise."""
    job = by_id(session, job_id)
    match job.status:
        case JobStatus.CANCELLING | JobStatus.CANCELLED:
            return job
        case JobStatus.QUEUED | JobStatus.PAUSED:
            return _finish(session, job, JobStatus.CANCELLED, 0.0, {}, desired=Desired.CANCEL)
        case JobStatus.RUNNING | JobStatus.PAUSING:
            return move(session, job, JobStatus.CANCELLING, [("cancelling", {})], desired=Desired.CANCEL)
    raise _conflict(job, "cancelled")


def request_pause(session: Session, job_id: str) -> Job:
    """At once where nothing runs, else once the worker has kept a checkpoint."""
    job = by_id(session, job_id)
    match job.status:
        case JobStatus.PAUSED:
            return job
        case JobStatus.PAUSING:
            return wish(session, job, Desired.PAUSE)
        case JobStatus.QUEUED:
            return move(session, job, JobStatus.PAUSED, [("paused", {})], desired=Desired.PAUSE)
        case JobStatus.RUNNING:
            return move(session, job, JobStatus.PAUSING, [("pausing", {})], desired=Desired.PAUSE)
    raise _conflict(job, "paused")


def request_resume(session: Session, job_id: str) -> Job:
    """Back to the queue. A job that is being paused goes there as soon as its attempt has ended."""
    job = by_id(session, job_id)
    match job.status:
        case JobStatus.QUEUED | JobStatus.RUNNING:
            return job
        case JobStatus.PAUSING:
            return wish(session, job, Desired.RUN)
        case JobStatus.PAUSED:
            lines: list[Line] = [("queued", {"reason": "resumed"})]
            return move(session, job, JobStatus.QUEUED, lines, desired=Desired.RUN, queued_at=func.now())
    raise _conflict(job, "resumed")


def retry(session: Session, job_id: str, from_: Literal["start", "checkpoint"]) -> Job:
    """A new job with the same spec; the old one does not change. Conflict where the old one has not ended."""
    job = by_id(session, job_id)
    if not job.status.is_terminal:
        raise Conflict(f"Job {job_id} is {job.status}: only a job that has ended can be tried again. Cancel it first.")
    if from_ == "checkpoint" and job.checkpoint is None:
        raise Conflict(f'Job {job_id} has left no checkpoint to go on from: use {{"from": "start"}}.')
    spec = JobSpec.model_validate(job.spec)
    checkpoint = job.checkpoint if from_ == "checkpoint" else None
    return submit(session, spec, retry_of=job.id, retry_from=from_, checkpoint=checkpoint)


def delete(session: Session, job_id: str) -> list[str]:
    """Remove an ended job and all that is stored of it; return the storage keys that are free after the commit."""
    job = by_id(session, job_id)
    if not job.status.is_terminal:
        raise Conflict(f"Job {job_id} is {job.status}: cancel it, then delete it.")
    keys = list(session.scalars(select(Artifact.storage_key).where(Artifact.job_id == job_id)))
    session.execute(delete_rows(Job).where(Job.id == job_id))
    return keys


def _conflict(job: Job, wished: str) -> Conflict:
    return Conflict(f"Job {job.id} is {job.status}: it cannot be {wished} any more.", code=f"job_{job.status}")


# --- the reconciler ---


def sweep(session: Session) -> Swept:
    """Settle jobs whose lease has ended: their worker is gone. Any number may call it; one at a time does it.

    After a start of the database server itself, leases that ended meanwhile have time to be renewed first.
    """
    swept = Swept()
    if not session.scalar(select(func.pg_try_advisory_xact_lock(_SWEEP_LOCK))):
        return Swept(leader=False)
    spared = func.pg_postmaster_start_time() + timedelta(seconds=settings().heartbeat_s * 2)
    expired = (
        select(Job)
        .where(Job.status.in_(LEASED), func.greatest(Job.lease_expires_at, spared) < func.now())
        .order_by(Job.lease_expires_at)
        .limit(_SWEEP_ROWS)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    for job in session.scalars(expired).all():
        settled = _lose(session, job)
        swept.moved.setdefault(settled.status, []).append(job.id)
    return swept


def stale_queued(session: Session, older_than_s: float) -> list[str]:
    """The oldest jobs that nobody has claimed for so long: their message may be lost."""
    old = func.now() - timedelta(seconds=older_than_s)
    query = select(Job.id).where(Job.status == JobStatus.QUEUED, Job.queued_at < old)
    return list(session.scalars(query.order_by(Job.queued_at, Job.id).limit(_SWEEP_ROWS)))


def _lose(session: Session, job: Job) -> Job:
    error = Infra(
        "The worker stopped answering; it was killed, lost its machine or lost the database.", code="worker_lost"
    )
    ran_s = _end_attempt(session, job, "lost", exit_code=None, log=None, error=error)
    if job.status is JobStatus.CANCELLING:
        return _finish(session, job, JobStatus.CANCELLED, ran_s, {"reason": "worker_lost"})
    return _try_again(session, job, error, ran_s, wait_s=0.0)


# --- how an attempt's end becomes the job's next state ---


def _try_again(session: Session, job: Job, error: JobFailure, ran_s: float, *, wait_s: float) -> Job:
    """Back to the queue while attempts are left and nobody wishes the job to end."""
    if job.status is JobStatus.CANCELLING:
        return _finish(session, job, JobStatus.CANCELLED, ran_s, {"reason": error.code})
    used = _attempts_used(job)
    if used >= job.max_attempts:
        told = {**error.as_dict(), "detail": f"{error.detail} That was attempt {used} of {job.max_attempts}."}
        return _finish(session, job, JobStatus.FAILED, ran_s, told, error=told)
    waiting = {"queued_at": from_now(wait_s)} if wait_s else {}
    return _put_back(session, job, ran_s, error.code, error=error, **waiting)


def _put_back(
    session: Session, job: Job, ran_s: float, reason: str, *, error: JobFailure | None = None, **values: Any
) -> Job:
    """To the queue, or to rest where the user wishes that; a job whose time is used up ends."""
    allowed_s = job.spec["limits"]["max_seconds"]
    if job.ran_s + ran_s >= allowed_s:
        late = Deadline(f"The job ran for {allowed_s} s in all: raise limits.max_seconds, or train less.").as_dict()
        return _finish(session, job, JobStatus.FAILED, ran_s, late, error=late, **values)
    data: Json = {"reason": reason, "attempt": job.attempt}
    if error is not None:
        data["error"] = error.as_dict()
    rests = job.desired is Desired.PAUSE
    to, type_ = (JobStatus.PAUSED, "paused") if rests else (JobStatus.QUEUED, "requeued")
    return move(session, job, to, [(type_, data)], **_LET_GO, ran_s=Job.ran_s + ran_s, **values)


def _finish(session: Session, job: Job, to: JobStatus, ran_s: float, data: Json, **values: Any) -> Job:
    return move(
        session,
        job,
        to,
        [(to.value, data)],
        **_LET_GO,
        ran_s=Job.ran_s + ran_s,
        finished_at=func.now(),
        **values,
    )


_LET_GO: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "phase": None}


def _attempts_used(job: Job) -> int:
    return job.attempt - job.attempts_forgiven


def _end_attempt(
    session: Session,
    job: Job,
    outcome: str,
    *,
    exit_code: int | None,
    log: str | None,
    error: JobFailure | None = None,
) -> float:
    """Close the attempt's row; return the seconds it ran. A lost one ran until its lease ended, as far as we know."""
    given: dict[str, Any] = {"outcome": outcome, "exit_code": exit_code, "error": error and error.as_dict()}
    if log is not None:
        given["log"] = _log_tail(log)
    end = func.least(func.now(), job.lease_expires_at) if outcome == "lost" else func.now()
    _attempt_values(session, job, ended_at=end, **given)
    ran = select(func.extract("epoch", Attempt.ended_at - Attempt.started_at))
    return float(session.execute(ran.where(Attempt.job_id == job.id, Attempt.number == job.attempt)).scalar_one())


def _log_tail(log: str) -> str:
    return storable_text(log[-_LOG_CHARACTERS:])


def _stored_log(log: str) -> str:
    return storable_text(log[-_LOG_CHARACTERS:])


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _attempt_values(session: Session, job: Job, **values: Any) -> None:
    this = (Attempt.job_id == job.id, Attempt.number == job.attempt)
    session.execute(update(Attempt).where(*this).values(**values).execution_options(synchronize_session=False))


def _publish(session: Session, job: Job, artifacts: Iterable[NewArtifact]) -> None:
    for made in artifacts:
        session.add(
            Artifact(
                job_id=job.id,
                name=made.name,
                attempt=job.attempt,
                storage_key=made.storage_key,
                size=made.size,
                sha256=made.sha256,
                media_type=made.media_type,
            )
        )
    session.flush()

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

from core import measurements
from core.errors import Conflict, Infra, JobFailure
from core.ids import new_id
from core.job_ends import (
    NewArtifact,
    attempts_used,
    end_attempt,
    finish,
    log_tail,
    publish,
    put_back,
    try_again,
    write_attempt,
)
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
    with_arithmetic,
    write,
)
from core.queue_order import take_next
from core.settings import settings
from models.spec.job import PRIORITIES, JobSpec
from models.status import LEASED, Desired, FailureClass, JobStatus, Phase
from models.tables import LOCAL_OWNER, Artifact, Attempt, Job, JobOutputs, JobTeacher, Json

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
    owner: str = LOCAL_OWNER,
    retry_of: str | None = None,
    retry_from: str | None = None,
    checkpoint: Json | None = None,
    estimate: Json | None = None,
) -> Job:
    """A new queued job with its spec resolved. The caller has checked that teachers and data sets are ready."""
    resolved = spec.resolved()
    job = Job(
        id=new_id("job"),
        owner=owner,
        name=resolved.name,
        labels=resolved.labels,
        spec=resolved.model_dump(mode="json"),
        dataset_id=resolved.dataset,
        priority=PRIORITIES.index(resolved.priority),
        max_attempts=resolved.limits.max_attempts,
        retry_of=retry_of,
        retry_from=retry_from,
        checkpoint=checkpoint,
        estimate=estimate,
        version=1,
        event_seq=1,
    )
    session.add(job)
    session.flush()
    reads_teachers, reads_outputs = resolved.teacher.teacher_ids(), resolved.teacher.output_ids()
    session.add_all(JobTeacher(job_id=job.id, place=n, teacher_id=id_) for n, id_ in enumerate(reads_teachers))
    session.add_all(JobOutputs(job_id=job.id, place=n, dataset_id=id_) for n, id_ in enumerate(reads_outputs))
    session.flush()
    append_events(session, job, [("queued", {} if retry_of is None else {"retry_of": retry_of, "from": retry_from})])
    session.refresh(job)
    return job


# --- an attempt, as its worker writes it ---


def claim(
    session: Session, *, worker: str, lease_s: float, job_id: str | None = None, token: str | None = None
) -> Claim | None:
    """Take the job that is next (core.queue_order), or the one named; None where there is none to take.

    A caller that makes the token itself can find out by `attempt_of` whether a commit went through whose answer it
    did not get.
    """
    token = token or secrets.token_hex(16)
    job = take_next(session, job_id)
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
        claimed_at=func.now(),
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
    arithmetic: Json | None = None,
) -> None:
    """Add events of the running attempt, and what they say of the job as a whole.

    `arithmetic`: how its networks compute, for the job's spec; what is there already stays.
    `lines_read`: how many lines of the attempt's are stored once this is committed. `log`: the end of the child's
    output so far.
    """
    of_job: Json = {"phase": phase, "progress": progress, "checkpoint": checkpoint}
    if arithmetic:
        of_job["spec"] = with_arithmetic(arithmetic)
    job = write(session, held_by(claim), lines, _said(of_job))
    if job is None:
        raise LeaseLost(claim.job_id)
    of_attempt = _said({"lines_read": lines_read, "log": None if log is None else log_tail(log)})
    if of_attempt:
        write_attempt(session, job, **of_attempt)


def succeed(session: Session, claim: Claim, *, result: Json, artifacts: Iterable[NewArtifact], log: str) -> Job:
    """End the job well and make its artifacts visible."""
    job = locked(session, claim)
    publish(session, job, artifacts)
    ran_s = end_attempt(session, job, "succeeded", exit_code=0, log=log)
    ended = finish(session, job, JobStatus.SUCCEEDED, ran_s, {}, result=result)
    measurements.record(session, ended)
    return ended


def fail(session: Session, claim: Claim, error: JobFailure, *, exit_code: int | None, log: str) -> Job:
    """End the attempt badly: an `infra` failure goes back to the queue while attempts are left, others end the job."""
    job = locked(session, claim)
    ran_s = end_attempt(session, job, "failed", exit_code=exit_code, log=log, error=error)
    if error.failure is FailureClass.INFRA:
        return try_again(session, job, error, ran_s, wait_s=settings().retry_wait_s * 2 ** (attempts_used(job) - 1))
    return finish(session, job, JobStatus.FAILED, ran_s, error.as_dict(), error=error.as_dict())


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
    ran_s = end_attempt(session, job, outcome, log=log)
    if job.status is JobStatus.CANCELLING:
        publish(session, job, artifacts)
        return finish(session, job, JobStatus.CANCELLED, ran_s, {}, result=result)
    return put_back(session, job, ran_s, outcome, attempts_forgiven=Job.attempts_forgiven + 1)


def attempt_of(session: Session, token: str, job_id: str | None = None) -> Attempt | None:
    """The attempt with that lease token: what to read after a COMMIT whose answer was lost.

    `outcome` None: it is running, and the claim can be used; a word: it has ended so, and that was committed.
    `lines_read` says which events are stored. None: the claim was never committed.
    """
    query = select(Attempt).where(Attempt.lease_token == token).execution_options(populate_existing=True)
    if job_id is not None:
        query = query.where(Attempt.job_id == job_id)
    return session.scalars(query).one_or_none()


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


# --- wishes of the user ---


def request_cancel(session: Session, job_id: str) -> Job:
    """At once where nothing runs, else by the worker within seconds. Conflict where the job has ended otherwise."""
    job = by_id(session, job_id)
    match job.status:
        case JobStatus.CANCELLING | JobStatus.CANCELLED:
            return job
        case JobStatus.QUEUED | JobStatus.PAUSED:
            return finish(session, job, JobStatus.CANCELLED, 0.0, {}, desired=Desired.CANCEL)
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
    rests = from_ == "checkpoint"
    return submit(
        session,
        spec,
        owner=job.owner,
        retry_of=job.id,
        retry_from=from_,
        checkpoint=job.checkpoint if rests else None,
        estimate=measurements.estimate_of_retry(session, job, from_checkpoint=rests),
    )


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
    ran_s = end_attempt(session, job, "lost", error=error)
    if job.status is JobStatus.CANCELLING:
        return finish(session, job, JobStatus.CANCELLED, ran_s, {"reason": "worker_lost"})
    return try_again(session, job, error, ran_s, wait_s=0.0)

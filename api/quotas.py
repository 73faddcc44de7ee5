"""What one owner may have at once: jobs that wait, and bytes. How many may run is seen to where jobs are claimed."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, union
from sqlalchemy.orm import Session

from core.errors import TooLarge, TooMany
from core.settings import settings
from models.status import JobStatus
from models.tables import Artifact, Dataset, Job, ResumableUpload, Teacher, Upload

#: Of a queue that is full nobody knows when it has room: as jobs start, and those take minutes.
_LOOK_AGAIN_S = 30
#: Below this distance to the limit nobody waits for anybody; nearer, one request of an owner after the other.
_NEAR = 64


def check_queue(session: Session, owner: str, more: int = 1) -> None:
    """TooMany where the owner has as many waiting jobs as may be. Call it in the transaction that makes `more`."""
    limit = settings().max_queued_per_owner
    if not limit:
        return
    waiting = _waiting(session, owner, limit + 1)
    if waiting > limit - _NEAR:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"queue of {owner}", 0))))
        waiting = _waiting(session, owner, limit + 1)
    if waiting + more > limit:
        raise TooMany(
            f"`{owner}` has {waiting + more - 1} jobs queued or paused, and may have {limit} "
            "(DISTILLERY_MAX_QUEUED_PER_OWNER). Wait until some have started, or cancel some",
            code="too_many_jobs",
            retry_after_s=_LOOK_AGAIN_S,
        )


def _waiting(session: Session, owner: str, most: int) -> int:
    waiting = select(Job.id).where(Job.owner == owner, Job.status.in_([JobStatus.QUEUED, JobStatus.PAUSED]))
    return session.scalar(select(func.count()).select_from(waiting.limit(most).subquery())) or 0


def stored_bytes(session: Session, owner: str) -> int:
    """What the owner's uploads, teachers, data sets and artifacts take; equal bytes of one owner count once."""
    each = [select(table.storage_key, table.size).where(table.owner == owner) for table in (Upload, Teacher, Dataset)]
    artifacts = select(Artifact.storage_key, Artifact.size).join(Job, Job.id == Artifact.job_id)
    # What arrives in parts takes what was said of it, so that many at once cannot take more than one after the other.
    arriving = func.greatest(func.coalesce(ResumableUpload.length, 0), ResumableUpload.received)
    each.append(select(ResumableUpload.id, arriving).where(*_in_parts(owner)))
    files = union(*each, artifacts.where(Job.owner == owner)).subquery()
    return int(session.scalar(select(func.sum(files.c.size))) or 0)


def _in_parts(owner: str) -> list[ColumnElement[bool]]:
    return [ResumableUpload.owner == owner, ResumableUpload.completed_at.is_(None)]


@dataclass(frozen=True)
class Bound:
    """So many bytes may come, and the answer to more."""

    most: int
    refusal: TooLarge


def bound(owner: str, left: int | None) -> list[Bound]:
    """What `room` left an owner; empty without a limit."""
    return [] if left is None else [Bound(left, _full(f"`{owner}` had room for {left} bytes more"))]


def check_stored(session: Session, owner: str) -> None:
    """TooLarge where what has come is too much. Uploads that come at once have all been let in with the same room."""
    limit = settings().max_stored_bytes_per_owner
    if not limit:
        return
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"bytes of {owner}", 0))))
    used = stored_bytes(session, owner)
    if used > limit:
        raise _full(f"`{owner}` would store {used} bytes")


def room(session: Session, owner: str, wanted: int = 0) -> int | None:
    """How many bytes the owner may still store, None without a limit. TooLarge where there is no room for `wanted`."""
    limit = settings().max_stored_bytes_per_owner
    if not limit:
        return None
    used = stored_bytes(session, owner)
    if used < limit and used + wanted <= limit:
        return limit - used
    raise _full(f"`{owner}` stores {used} bytes")


def _full(what: str) -> TooLarge:
    return TooLarge(
        f"{what}, and may store {settings().max_stored_bytes_per_owner} (DISTILLERY_MAX_STORED_BYTES_PER_OWNER). "
        "Delete jobs, teachers and data sets that are not needed; an upload that nothing uses goes by itself after a "
        "while",
        code="storage_full",
    )

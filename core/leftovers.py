"""What nobody needs any more: rows that expire, and which stored files no row names.

A file is named before it is needed for long: an upload by its row, an artifact by the end of its job, a checkpoint by
its job. What is unnamed was left by a process that died in between, or by a worker that had lost its lease.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, union
from sqlalchemy.orm import Session

from core.settings import settings
from models.status import TERMINAL
from models.tables import Artifact, Dataset, IdempotencyKey, Job, JobInput, ResumableUpload, Teacher, Upload

_ROWS = 500


@dataclass(frozen=True)
class Expired:
    """How many rows were removed. The files of the uploads are unnamed from then on."""

    uploads: int
    idempotency_keys: int


def forget_expired(session: Session, older_than_s: float) -> Expired:
    """Remove uploads as old as this that no teacher and no data set was made of, and all whose own time is over."""
    old = func.now() - timedelta(seconds=older_than_s)
    users = (select(table.id).where(table.upload_id == Upload.id).exists() for table in (Teacher, Dataset))
    unused = select(Upload.id).where(Upload.created_at < old, *(~user for user in users)).limit(_ROWS)
    uploads = session.execute(
        delete(Upload).where(Upload.id.in_(unused.with_for_update(skip_locked=True))).returning(Upload.id)
    )
    replayed_since = func.now() - timedelta(seconds=settings().idempotency_s)
    expired = IdempotencyKey.created_at < replayed_since
    keys = session.execute(delete(IdempotencyKey).where(expired).returning(IdempotencyKey.key))
    # Their files are in the spool of the API that took them, which removes what has no row.
    session.execute(delete(ResumableUpload).where(ResumableUpload.expires_at < func.now()))
    return Expired(len(uploads.all()), len(keys.all()))


def unnamed(session: Session, keys: Sequence[str]) -> set[str]:
    """Those of `keys` that no row names. All below jobs/ID/ count as named while that job has not ended."""
    checkpoint = Job.checkpoint["key"].astext
    things = (Upload, Teacher, Dataset, JobInput, Artifact)
    columns = (*(thing.storage_key for thing in things), checkpoint)
    named = set(session.scalars(union(*(select(column).where(column.in_(keys)) for column in columns))))
    owners = {key: _job_of(key) for key in keys}
    busy = set(session.scalars(select(Job.id).where(Job.id.in_(set(owners.values())), Job.status.not_in(TERMINAL))))
    return {key for key, owner in owners.items() if key not in named and owner not in busy}


def _job_of(key: str) -> str:
    """The id in jobs/ID/...; empty for other keys."""
    first, _, rest = key.partition("/")
    return rest.partition("/")[0] if first == "jobs" else ""

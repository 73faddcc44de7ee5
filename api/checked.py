"""What teachers and data sets have in common: both are an upload that a worker checks once, and that jobs then use."""

from typing import TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from api.conditions import require_match
from api.deps import find
from api.views import View, checked_view, tag_of
from core import checks, job_inputs
from core.errors import Conflict, Invalid
from core.storage import storage
from models.status import TERMINAL
from models.tables import Dataset, Job, Teacher, Upload

Checked = TypeVar("Checked", Teacher, Dataset)


def require_upload(session: Session, owner: str, upload_id: str) -> None:
    """Invalid at /upload where there is no such upload."""
    if find(session, Upload, owner, upload_id) is None:
        message = f"There is no upload `{upload_id}`; POST /uploads takes the file and answers with its id"
        raise Invalid.at("/upload", message, code="unknown_upload")


def held(session: Session, row: Checked, view: type[View], if_match: str | None) -> Checked:
    """The row, locked to the end of the transaction, in the version that the caller means."""
    session.refresh(row, with_for_update=True)
    require_match(if_match, tag_of(checked_view(view, row)))
    return row


def recheck(session: Session, row: Teacher | Dataset) -> None:
    """Ask for another verdict on a held row. Conflict where the file that was handed in is gone."""
    upload = session.get_one(Upload, row.upload_id)
    if not storage().exists(upload.storage_key):
        raise Conflict(
            f"The file of `{row.id}` as it was handed in is not stored any more, so it cannot be checked again. "
            "Hand the file in once more and post it anew; what was converted of it can be used as before",
            code="upload_gone",
        )
    checks.request_recheck(session, row)


def remove(session: Session, row: Teacher | Dataset) -> None:
    """Delete a held teacher or data set that no job names; Conflict with the ids of the jobs that do.

    The row is locked: a job that is being submitted either is seen here or finds the row gone.
    """
    users = select(Job.id).where(job_inputs.readers(row))
    if active := _some(session, users.where(Job.status.not_in(TERMINAL))):
        raise Conflict(f"`{row.id}` is used by {active}; cancel and delete these first", code="in_use")
    if ended := _some(session, users):
        raise Conflict(f"`{row.id}` is named by {ended}, which have ended; delete these first", code="in_use")
    session.delete(row)


def _some(session: Session, users: Select[str]) -> str:
    """The first ten of these jobs in words; empty where there is none."""
    total = session.scalar(select(func.count()).select_from(users.subquery())) or 0
    if not total:
        return ""
    shown = ", ".join(session.scalars(users.order_by(Job.created_at).limit(10)))
    return f"{total} {'job' if total == 1 else 'jobs'} ({shown}{' ...' if total > 10 else ''})"

"""What teachers and data sets have in common: both are an upload that a worker checks once, and that jobs then use."""

from typing import TypeVar

from sqlalchemy import ColumnElement, Select, delete, func, or_, select
from sqlalchemy.orm import Session

from api.deps import find, get
from core.errors import Conflict, Invalid
from models.status import TERMINAL
from models.tables import Dataset, Job, JobOutputs, JobTeacher, Teacher, Upload

Checked = TypeVar("Checked", Teacher, Dataset)


def require_upload(session: Session, owner: str, upload_id: str) -> None:
    """Invalid at /upload where there is no such upload."""
    if find(session, Upload, owner, upload_id) is None:
        message = f"There is no upload `{upload_id}`; POST /uploads takes the file and answers with its id"
        raise Invalid.at("/upload", message, code="unknown_upload")


def remove(session: Session, table: type[Checked], owner: str, given: str) -> None:
    """Delete a teacher or a data set that no job names; Conflict with the ids of the jobs that do.

    The row is locked first: a job that is being submitted either is seen here or finds the row gone.
    """
    row = get(session, table, owner, given)
    session.refresh(row, with_for_update=True)
    users = select(Job.id).where(_names(row))
    if active := _some(session, users.where(Job.status.not_in(TERMINAL))):
        raise Conflict(f"`{row.id}` is used by {active}; cancel and delete these first", code="in_use")
    if ended := _some(session, users):
        raise Conflict(f"`{row.id}` is named by {ended}, which have ended; delete these first", code="in_use")
    session.execute(delete(table).where(table.id == row.id))


def _names(row: Teacher | Dataset) -> ColumnElement[bool]:
    """True of the jobs that read the row, in whatever part."""
    if isinstance(row, Teacher):
        return Job.id.in_(select(JobTeacher.job_id).where(JobTeacher.teacher_id == row.id))
    given = select(JobOutputs.job_id).where(JobOutputs.dataset_id == row.id)
    return or_(Job.dataset_id == row.id, Job.id.in_(given))


def _some(session: Session, users: Select[str]) -> str:
    """The first ten of these jobs in words; empty where there is none."""
    total = session.scalar(select(func.count()).select_from(users.subquery())) or 0
    if not total:
        return ""
    shown = ", ".join(session.scalars(users.order_by(Job.created_at).limit(10)))
    return f"{total} {'job' if total == 1 else 'jobs'} ({shown}{' ...' if total > 10 else ''})"

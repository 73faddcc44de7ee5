"""What a job was accepted with stays what it reads, whatever a later check says of its teachers and data.

Only where a new verdict takes something away is it written down for the jobs that need it: nearly always the converted
file is the same again, byte for byte.
"""

from sqlalchemy import ColumnElement, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models.status import TERMINAL
from models.tables import Dataset, Job, JobInput, JobOutputs, JobTeacher, Teacher


def readers(row: Teacher | Dataset) -> ColumnElement[bool]:
    """True of the jobs that read the row, in whatever part."""
    if isinstance(row, Teacher):
        return Job.id.in_(select(JobTeacher.job_id).where(JobTeacher.teacher_id == row.id))
    given = select(JobOutputs.job_id).where(JobOutputs.dataset_id == row.id)
    return or_(Job.dataset_id == row.id, Job.id.in_(given))


def keep(session: Session, row: Teacher | Dataset) -> None:
    """Keep a usable row as it is for the jobs that have not ended. The caller has locked it (FOR UPDATE).

    A job that is being submitted holds the row as well, so it is either seen here or finds the new verdict.
    """
    if row.storage_key is None:
        return
    columns = ["job_id", "input_id", "meta", "storage_key", "sha256", "size"]
    type_ = type(row)
    kept = (
        select(Job.id, literal(row.id), type_.meta, type_.storage_key, type_.sha256, type_.size)
        .select_from(Job)
        .join(type_, type_.id == row.id)
        .where(Job.status.not_in(TERMINAL), readers(row))
    )
    # What an earlier verdict has kept is what the job was accepted with.
    session.execute(insert(JobInput).from_select(columns, kept).on_conflict_do_nothing())


def of_job(session: Session, job_id: str) -> dict[str, JobInput]:
    """What was kept for a job, by the id of the teacher or the data set."""
    return {kept.input_id: kept for kept in session.scalars(select(JobInput).where(JobInput.job_id == job_id))}

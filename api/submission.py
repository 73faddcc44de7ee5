"""Making a job of a spec: what does not fit is refused with its field."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from api import fit, pairs, quotas
from api.deps import find
from api.fitting.fault import Fault
from api.fitting.parts import members
from api.fitting.rows import Rows
from api.pairs import Paired
from api.pointers import pointer_to
from core import jobs, measurements
from core.errors import Conflict, Invalid, Problem, RequestError
from models.canonical import TeacherMeta
from models.spec.job import JobSpec
from models.tables import Dataset, Job, Json, Teacher


def submit(session: Session, owner: str, spec: JobSpec, body: Any) -> Job:
    """The job for this spec. Invalid or Conflict with pointers into `body` where it cannot be made."""
    resolved, found = checked(session, owner, spec)
    if found:
        raise refusal(found, body)
    quotas.check_queue(session, owner)
    return jobs.submit(session, resolved, owner=owner, estimate=estimated(session, owner, resolved))


def estimated(session: Session, owner: str, resolved: JobSpec) -> Json | None:
    """What a spec that can run will take."""
    rows = _rows(session, owner, resolved)
    known = [rows.of(member) for member in members(resolved)]
    if rows.data is None:
        return None
    teachers = [meta for meta in known if isinstance(meta, TeacherMeta)]
    return measurements.estimate(session, resolved, rows.data, teachers)


def checked(session: Session, owner: str, spec: JobSpec) -> tuple[JobSpec, list[Fault]]:
    """The spec as it would run, and all that keeps it from running.

    The rows are held (FOR KEY SHARE) to the end of the transaction, so that none is deleted under a job that names it.
    """
    rows = _rows(session, owner, spec, held=True)
    found = fit.faults(spec, rows)
    if found or rows.data is None:
        return spec, found
    return fit.adapted(spec, rows.data).resolved(), []


def _rows(session: Session, owner: str, spec: JobSpec, *, held: bool = False) -> Rows:
    """What there is of all that the spec names."""
    teachers = {name: find(session, Teacher, owner, name, held=held) for name in spec.teacher.teacher_ids()}
    outputs = {name: find(session, Dataset, owner, name, held=held) for name in spec.teacher.output_ids()}
    return Rows(
        find(session, Dataset, owner, spec.dataset, held=held),
        {name: row for name, row in teachers.items() if row is not None},
        {name: row for name, row in outputs.items() if row is not None},
    )


def paired(session: Session, owner: str, spec: JobSpec) -> list[Paired]:
    """How the terms that read features would be paired; nothing where the data or a teacher cannot be used yet."""
    rows = _rows(session, owner, spec)
    known = {member.key: rows.of(member) for member in members(spec)}
    if rows.data is None or None in known.values():
        return []
    teachers = {name: meta for name, meta in known.items() if isinstance(meta, TeacherMeta)}
    return list(pairs.paired(spec, teachers, rows.data))


def refusal(found: Sequence[Fault], body: Any) -> RequestError:
    """The error for these faults: 409 where all of them pass by themselves, else 422."""
    problems = [Problem(pointer_to(fault.loc, body), fault.message) for fault in found]
    codes = {fault.code for fault in found}
    detail = problems[0].message if len(found) == 1 else f"{len(found)} things do not fit: {problems[0].message}"
    error = Conflict if all(fault.passing for fault in found) else Invalid
    return error(detail, code=codes.pop() if len(codes) == 1 else None, errors=problems)

"""Checks of uploaded teachers and data sets, as rows: handed in, claimed with a lease, answered with a verdict.

The same rules as for jobs, on a smaller scale: the row is the truth, a message is a hint, a lost lease changes nothing.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from core import job_inputs
from core.ids import new_id
from core.job_rows import from_now
from core.settings import settings
from core.storage import Stored
from core.webhooks import announce
from models.canonical import RULES, CheckLine
from models.spec.data import DatasetSpec
from models.spec.teachers import TeacherSpec
from models.status import CheckStatus
from models.tables import LOCAL_OWNER, Dataset, Json, Teacher
from models.work import IntakeResult

Kind = Literal["teachers", "datasets"]
TABLES: dict[Kind, type[Teacher] | type[Dataset]] = {"teachers": Teacher, "datasets": Dataset}

_STALE_ROWS = 200


@dataclass(frozen=True, slots=True)
class CheckClaim:
    """The right to check one upload, until the lease ends. `spec` is what the user said of it."""

    kind: Kind
    id: str
    upload_id: str
    spec: Json
    attempt: int
    token: str
    lease_s: float


def submit_teacher(
    session: Session, name: str, upload_id: str, spec: TeacherSpec, *, owner: str = LOCAL_OWNER
) -> Teacher:
    """A new teacher that waits for its check."""
    teacher = Teacher(id=new_id("tch"), owner=owner, name=name, upload_id=upload_id, spec=spec.model_dump(mode="json"))
    session.add(teacher)
    session.flush()
    session.refresh(teacher)
    return teacher


def submit_dataset(
    session: Session, name: str, upload_id: str, spec: DatasetSpec, *, owner: str = LOCAL_OWNER
) -> Dataset:
    """A new data set that waits for its check."""
    dataset = Dataset(id=new_id("dst"), owner=owner, name=name, upload_id=upload_id, spec=spec.model_dump(mode="json"))
    session.add(dataset)
    session.flush()
    session.refresh(dataset)
    return dataset


def claim_check(session: Session, kind: Kind, id_: str, lease_s: float) -> CheckClaim | None:
    """Take a check that nobody is at; None where there is none to do.

    One that ended its worker as often as is allowed is rejected here: a file that crashes each check is no fault of
    the machines. Where it had a verdict before, it keeps that.
    """
    table = TABLES[kind]
    free = or_(table.lease_expires_at.is_(None), table.lease_expires_at < func.now())
    query = select(table.upload_id, table.spec, table.attempt)
    query = query.where(table.id == id_, _is_due(table), free)
    row = session.execute(query.with_for_update(skip_locked=True)).one_or_none()
    if row is None:
        return None
    if row.attempt >= settings().check_max_attempts:
        _give_up(session, kind, id_, row.attempt)
        return None
    claim = CheckClaim(kind, id_, row.upload_id, row.spec, row.attempt + 1, secrets.token_hex(16), lease_s)
    _write(
        session,
        kind,
        [table.id == id_, table.attempt == row.attempt],
        attempt=claim.attempt,
        lease_token=claim.token,
        lease_expires_at=from_now(lease_s),
    )
    return claim


def renew(session: Session, claim: CheckClaim) -> bool:
    """Extend the lease; False where it was lost: stop the check."""
    return _write(session, claim.kind, _held_by(claim), lease_expires_at=from_now(claim.lease_s))


def finish_check(
    session: Session, claim: CheckClaim, result: IntakeResult, stored: Stored | None, *, found_out: bool = True
) -> bool:
    """Write the verdict; False where the lease was lost and nothing was written. `stored`: the canonical file.

    `found_out` is False where the converter broke down or reached a limit: that takes from nothing what it had.
    """
    if not found_out and _keep_verdict(
        session, claim.kind, _held_by(claim), "The last check broke down or took too much."
    ):
        return True
    verdict: dict[str, Any] = {"status": CheckStatus.REJECTED, **_NOTHING, "report": _signed(result.report)}
    if result.ready:
        assert stored is not None, "what is ready has a canonical file"
        verdict |= {
            "status": CheckStatus.READY,
            "meta": result.meta,
            "storage_key": stored.key,
            "sha256": stored.sha256,
            "size": stored.size,
        }
    return _replace(session, claim.kind, _held_by(claim), verdict)


def request_recheck(session: Session, row: Teacher | Dataset) -> None:
    """Have a locked row checked again. Its verdict stays until there is another; asking twice is asking once."""
    if row.status != CheckStatus.CHECKING and row.recheck_at is None:
        table = type(row)
        again: dict[str, Any] = {"recheck_at": func.now(), "attempt": 0, **_LET_GO}
        session.execute(update(table).where(table.id == row.id).values(**again))
        session.refresh(row)


def stale_checks(session: Session, older_than_s: float) -> list[tuple[Kind, str]]:
    """Checks that nobody is at, so long after they were handed in or last claimed: their message may be lost."""
    old = func.now() - timedelta(seconds=older_than_s)
    found: list[tuple[Kind, str]] = []
    for kind, table in TABLES.items():
        waits_since = func.coalesce(table.lease_expires_at, table.recheck_at, table.created_at)
        query = select(table.id).where(_is_due(table), waits_since < old)
        found += [(kind, id_) for id_ in session.scalars(query.order_by(table.created_at).limit(_STALE_ROWS))]
    return found


_LET_GO: dict[str, Any] = {"lease_token": None, "lease_expires_at": None}
#: What a rejected thing has: jobs that were accepted before have theirs in job_inputs.
_NOTHING: dict[str, Any] = {"meta": None, "storage_key": None, "sha256": None, "size": None}


def _is_due(table: type[Teacher] | type[Dataset]) -> ColumnElement[bool]:
    return or_(table.status == CheckStatus.CHECKING, table.recheck_at.is_not(None))


def _signed(report: dict[str, Any]) -> dict[str, Any]:
    """The report, with the rules that it was made by."""
    return {**report, "rules": RULES}


def _replace(session: Session, kind: Kind, where: list[ColumnElement[bool]], verdict: dict[str, Any]) -> bool:
    """Put a verdict in the place of the one there is; what it takes away is kept for the jobs that need it.

    The lock (FOR UPDATE) keeps out jobs that are being submitted, which hold the row FOR KEY SHARE.
    """
    table = TABLES[kind]
    row = session.scalars(
        select(table).where(_is_due(table), *where).with_for_update().execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return False
    assert isinstance(row, Teacher | Dataset)
    if verdict["sha256"] != row.sha256 or verdict["meta"] != row.meta:
        job_inputs.keep(session, row)
    is_written = _write(session, kind, where, checked_at=func.now(), recheck_at=None, **_LET_GO, **verdict)
    if is_written:
        announce(session, row.owner, kind.removesuffix("s"), row.id, verdict["status"].value)
    return is_written


def _keep_verdict(session: Session, kind: Kind, where: list[ColumnElement[bool]], why: str) -> bool:
    """End a check of a thing that has a verdict, which stays, with a note; False where there is none to keep."""
    table = TABLES[kind]
    row = session.scalars(select(table).where(_is_due(table), *where).with_for_update()).one_or_none()
    if row is None:
        return False
    assert isinstance(row, Teacher | Dataset)
    if row.status is CheckStatus.CHECKING:
        return False
    detail = (
        f"{why} It was made again of a file that had been checked before, and found nothing out: the verdict stayed."
    )
    note = CheckLine(id="check_crashed", result="warn", detail=detail)
    # First, because the last line of a rejection is its reason. One note says it, however often it happens.
    found = [line for line in row.report["checks"] if (line["id"], line["result"]) != (note.id, note.result)]
    report = {**row.report, "checks": [note.model_dump(), *found]}
    is_written = _write(session, kind, where, recheck_at=None, **_LET_GO, report=report)
    announce(session, row.owner, kind.removesuffix("s"), row.id, row.status.value)
    return is_written


def _give_up(session: Session, kind: Kind, id_: str, attempts: int) -> None:
    of_it: list[ColumnElement[bool]] = [TABLES[kind].id == id_]
    if _keep_verdict(session, kind, of_it, f"The check ended without an answer {attempts} times."):
        return
    line = CheckLine(
        id="check_crashed",
        result="fail",
        detail=f"The check of this file ended without an answer {attempts} times. It may need more memory or time "
        "than a check has: hand in a smaller file, or the same content in another format.",
    )
    verdict = {"status": CheckStatus.REJECTED, **_NOTHING, "report": _signed({"checks": [line.model_dump()]})}
    _replace(session, kind, of_it, verdict)


def _held_by(claim: CheckClaim) -> list[ColumnElement[bool]]:
    table = TABLES[claim.kind]
    return [table.id == claim.id, table.attempt == claim.attempt, table.lease_token == claim.token]


def _write(session: Session, kind: Kind, where: list[ColumnElement[bool]], **values: Any) -> bool:
    """One guarded UPDATE of a check that is to be made; whether there was one."""
    table = TABLES[kind]
    change = update(table).where(_is_due(table), *where).values(**values).returning(table.id)
    return session.execute(change.execution_options(synchronize_session=False)).one_or_none() is not None

"""The workers that there are: each shows itself from time to time, and counts as gone once it falls silent."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.job_rows import from_now
from models.tables import Json, Worker


def show(session: Session, name: str, devices: Sequence[Json], silent_s: float) -> None:
    """Say that the worker lives, and that it counts as gone after that many seconds without another word."""
    said = {"devices": list(devices), "seen_at": func.now(), "expected_by": from_now(silent_s)}
    row = insert(Worker).values(name=name, **said)
    session.execute(row.on_conflict_do_update(index_elements=[Worker.name], set_=said))


def leave(session: Session, name: str) -> None:
    """Say that the worker goes; when it was last seen stays known."""
    gone = insert(Worker).values(name=name, devices=[], expected_by=func.now())
    changed = {"seen_at": func.now(), "expected_by": func.now()}
    session.execute(gone.on_conflict_do_update(index_elements=[Worker.name], set_=changed))


def count(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(Worker).where(Worker.expected_by > func.now())) or 0


def devices(session: Session) -> dict[str, int]:
    """How many devices they have, by kind."""
    shown = session.scalars(select(Worker.devices).where(Worker.expected_by > func.now()))
    return dict(Counter(str(device["kind"]) for each in shown for device in each))


def forget_gone(session: Session, older_than_s: float) -> None:
    """Remove workers that have been silent for so long."""
    session.execute(delete(Worker).where(Worker.seen_at < func.now() - timedelta(seconds=older_than_s)))

"""Uploads as rows: whole ones, and those that arrive in parts (tus).

The row of one in parts says how many of its bytes are on disk for good. What its file has beyond that was written by a
process that died before it could say so, and is written over.
"""

import re
import unicodedata

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core.job_rows import from_now
from core.settings import settings
from core.storage import Stored
from models.tables import ResumableUpload, Upload


def cleaned(filename: str) -> str:
    """A name for people: no folders, no control characters, at most 255 characters. It never becomes a path."""
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    name = "".join(character for character in name if unicodedata.category(character)[0] != "C")
    return name.strip()[:255] or "upload"


def record(session: Session, id_: str, owner: str, filename: str, stored: Stored) -> Upload:
    """The row of a file that is stored."""
    upload = Upload(
        id=id_, owner=owner, filename=filename, size=stored.size, sha256=stored.sha256, storage_key=stored.key
    )
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def begin(session: Session, id_: str, owner: str, said: str, filename: str, length: int | None) -> ResumableUpload:
    """A new one of which nothing has arrived."""
    row = ResumableUpload(
        id=id_, owner=owner, said=said, filename=cleaned(filename), length=length, received=0, expires_at=_expiry()
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def in_parts(session: Session, owner: str, id_: str) -> ResumableUpload | None:
    """The owner's row, expired or not."""
    query = select(ResumableUpload).where(ResumableUpload.id == id_, ResumableUpload.owner == owner)
    return session.scalars(query).one_or_none()


def has_expired(session: Session, row: ResumableUpload) -> bool:
    """Whether its time is over, by the database's clock."""
    return bool(session.scalar(select(func.now() > row.expires_at)))


def advance(session: Session, id_: str, received: int) -> ResumableUpload | None:
    """Write down how much is on disk; None where the upload was ended meanwhile."""
    change = update(ResumableUpload).where(ResumableUpload.id == id_, ResumableUpload.completed_at.is_(None))
    return session.scalars(
        change.values(received=received, expires_at=_expiry())
        .returning(ResumableUpload)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()


def set_length(session: Session, row: ResumableUpload, length: int) -> None:
    """Say the length of one whose length was not known."""
    row.length = length
    session.flush()


def complete(session: Session, row: ResumableUpload, stored: Stored) -> Upload:
    """Make the upload of what has arrived whole."""
    session.execute(
        update(ResumableUpload)
        .where(ResumableUpload.id == row.id)
        .values(completed_at=func.now(), expires_at=_expiry())
    )
    return record(session, row.id, row.owner, row.filename, stored)


def end(session: Session, id_: str) -> None:
    """Forget one; an upload that was made of it stays."""
    session.execute(delete(ResumableUpload).where(ResumableUpload.id == id_))


def forget_expired(session: Session) -> None:
    """Forget those whose time is over."""
    session.execute(delete(ResumableUpload).where(ResumableUpload.expires_at < func.now()))


def known(session: Session, ids: list[str]) -> set[str]:
    """Those that have a row and are not whole: their files are needed."""
    needed = ResumableUpload.id.in_(ids), ResumableUpload.completed_at.is_(None)
    return set(session.scalars(select(ResumableUpload.id).where(*needed)))


def _expiry() -> object:
    return from_now(settings().resumable_s)

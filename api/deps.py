"""Looking things up for a route: by an id that the caller gave, or 404 with the place to look.

What another owner has is not there: neither the answer nor the statement tells it from an id that never was.
"""

import re
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFound
from models.tables import Dataset, Job, Teacher, Upload, Webhook

_ID = re.compile(r"^[a-z]{3}_[A-Za-z0-9]{1,60}$")

Thing = TypeVar("Thing", Job, Teacher, Dataset, Upload, Webhook)

_WORDS: dict[type[Job | Teacher | Dataset | Upload | Webhook], tuple[str, str]] = {
    Webhook: ("webhook", "GET /webhooks lists the webhooks"),
    Job: ("job", "GET /jobs lists the jobs"),
    Teacher: ("teacher", "GET /teachers lists the teachers"),
    Dataset: ("data set", "GET /datasets lists the data sets"),
    Upload: ("upload", "POST /uploads answers with the id"),
}


def find(session: Session, table: type[Thing], owner: str, given: str, *, held: bool = False) -> Thing | None:
    """The owner's row of an id, or None. Text that cannot be an id never reaches the database.

    `held`: it stays as long as the transaction does (FOR KEY SHARE).
    """
    if not is_id(given):
        return None
    query = select(table).where(table.id == given, table.owner == owner)
    if held:
        query = query.with_for_update(key_share=True, read=True)
    return session.scalars(query).one_or_none()


def is_id(given: str) -> bool:
    """Whether the text can be an id at all."""
    return _ID.match(given) is not None


def get(session: Session, table: type[Thing], owner: str, given: str) -> Thing:
    """The owner's row of an id; NotFound where there is none."""
    if row := find(session, table, owner, given):
        return row
    word, where = _WORDS[table]
    raise NotFound(f"There is no {word} `{given[:100]}`; {where}")

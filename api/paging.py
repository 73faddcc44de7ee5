"""Keyset pages: a cursor is the place of the last row that was seen, so that inserts never shift a page."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

from core.errors import Invalid
from models.tables import Dataset, Job, Key, Teacher, Webhook, WebhookDelivery

Limit = Annotated[int, Query(ge=1, le=200, description="Rows at most.")]
#: The letters of a cursor are told and not kept: what else is none of ours is refused with our own sentence too.
_LETTERS = {"pattern": "^[A-Za-z0-9_-]+$"}
Cursor = Annotated[
    str | None,
    Query(
        max_length=500,
        description="`next_cursor` of the page before. Left out: the newest.",
        json_schema_extra=_LETTERS,
    ),
]
ByName = Annotated[
    str | None,
    Query(
        max_length=2000,
        description="`next_cursor` of the page before. Left out: the first.",
        json_schema_extra=_LETTERS,
    ),
]

Owned = TypeVar("Owned", Job, Teacher, Dataset, Key, Webhook)
Row = TypeVar("Row", Job, Teacher, Dataset, Key, Webhook, WebhookDelivery)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Rows, and where the next page starts; None after the last."""

    rows: Sequence[Row]
    next_cursor: str | None


def page(
    session: Session, table: type[Owned], owner: str, query: Select[Owned], limit: int, cursor: str | None
) -> Page[Owned]:
    """One page of what the owner has of a query, newest first. Invalid where the cursor is none of ours."""
    return page_of_all(session, table, query.where(table.owner == owner), limit, cursor)


def page_of_all(session: Session, table: type[Row], query: Select[Row], limit: int, cursor: str | None) -> Page[Row]:
    """As `page`, of every owner: for who may see them all."""
    if cursor is not None:
        query = query.where(tuple_(table.created_at, table.id) < tuple_(*_place(cursor)))
    query = query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)
    rows = session.scalars(query).all()
    more = len(rows) > limit
    return Page(rows[:limit], _cursor(rows[limit - 1]) if more else None)


def _cursor(row: Any) -> str:
    return _sealed([row.created_at.isoformat(), row.id])


def cursor_of(name: str) -> str:
    """The cursor of a list by name, after this one."""
    return _sealed(["name", name])


def name_in(cursor: str) -> str:
    """The name in a cursor. Invalid where it is none of ours."""
    try:
        kind, name = _opened(cursor)
    except (ValueError, TypeError, RecursionError):
        kind, name = None, None
    if kind != "name" or not isinstance(name, str) or "\x00" in name:
        raise _no_cursor()
    return name


def _sealed(place: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        at, row_id = _opened(cursor)
        place = datetime.fromisoformat(at), str(row_id)
    except (ValueError, TypeError, RecursionError):
        place = None
    if place is None or place[0].tzinfo is None or "\x00" in place[1]:
        raise _no_cursor()
    return place


def _opened(cursor: str) -> Any:
    if re.fullmatch(_LETTERS["pattern"], cursor) is None:
        raise ValueError(cursor)
    return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


def _no_cursor() -> Invalid:
    return Invalid.at("?cursor", "Not a cursor of this list; give the `next_cursor` of the page before, or none")

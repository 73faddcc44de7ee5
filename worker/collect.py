"""Removes what nobody needs any more from the database and the store, a long time after it was of use.

One collector works at a time, by an advisory lock of its connection; what two would do twice does no harm.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice

from sqlalchemy import text

from core import db, fleet, leftovers, webhooks
from core.errors import NotFound
from core.settings import settings
from core.storage import Entry, storage
from worker import drain

log = logging.getLogger(__name__)

_LOCK = 0x0D157113
_BATCH = 500
_FOLDERS = ("blobs", "jobs")


@dataclass
class Collected:
    """How much was removed."""

    uploads: int = 0
    idempotency_keys: int = 0
    files: int = 0


def collect() -> Collected | None:
    """One round; None where another collector is at it."""
    # Not in a transaction: it lasts as long as the listing of a store.
    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            return None
        try:
            return _collect(settings().keep_s)
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def _collect(keep_s: float) -> Collected:
    with db.session() as session:
        expired = leftovers.forget_expired(session, keep_s)
        webhooks.forget_ended(session, keep_s)
        fleet.forget_gone(session, keep_s)
    collected = Collected(expired.uploads, expired.idempotency_keys)
    before = datetime.now(UTC) - timedelta(seconds=keep_s)
    old = _old(before)
    while (keys := [entry.key for entry in islice(old, _BATCH)]) and not drain.requested():
        collected.files += _remove_unnamed(keys, before)
    log.info("collected: %s", collected)
    return collected


def _old(before: datetime) -> Iterator[Entry]:
    everything = chain.from_iterable(storage().list(folder) for folder in _FOLDERS)
    return (entry for entry in everything if entry.modified_at < before)


def _remove_unnamed(keys: Sequence[str], before: datetime) -> int:
    with db.session() as session:
        unnamed = leftovers.unnamed(session, keys)
    # Equal bytes that are handed in meanwhile are stored anew, which shows in their time.
    removed = [key for key in sorted(unnamed) if _is_old(key, before)]
    for key in removed:
        storage().delete(key)
        log.info("removed %s: no row names it", key)
    return len(removed)


def _is_old(key: str, before: datetime) -> bool:
    try:
        return storage().stat(key).modified_at < before
    except NotFound:
        return False

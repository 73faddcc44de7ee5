"""Parts of resumable uploads as they arrive: written as they come, and counted once they are on disk.

A connection that breaks, a process that is killed and a machine that loses power cost what was under way since the last
count, which the client sends again.
"""

import asyncio
import logging
import time
from contextlib import suppress
from hmac import compare_digest
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect, Request

from api import quotas
from api.tus import Checksum
from core import db, incoming
from core.errors import ChecksumMismatch, Conflict, Gone, Locked, Malformed, NotFound, TooLarge, Unavailable
from core.parts import Parts, forget, leftovers
from core.settings import settings
from core.storage import storage
from models.tables import ResumableUpload

log = logging.getLogger("distillery.api")

_CHUNK = 1 << 20
#: Counted after so many bytes or seconds, whichever is first.
_COUNT_BYTES, _COUNT_S = 32 << 20, 5.0
_TIDY_S = 600.0


def find(session: Session, owner: str, upload_id: str) -> ResumableUpload:
    """The owner's upload. NotFound, and Gone where its time is over."""
    row = incoming.in_parts(session, owner, upload_id)
    if row is None:
        raise NotFound(f"There is no resumable upload `{upload_id[:100]}`; POST /uploads/resumable begins one")
    if incoming.has_expired(session, row):
        raise Gone("This upload was not continued in time, and was removed; begin a new one", code="upload_expired")
    return row


def check_room(session: Session, owner: str, length: int) -> None:
    """TooLarge where so many bytes are more than may come, or than there is room for."""
    allowed = settings().max_upload_bytes
    if length > allowed:
        raise TooLarge(f"An upload is at most {allowed} bytes, as Tus-Max-Size says; this one has {length}")
    if length > storage().free_bytes() - settings().min_free_bytes:
        raise TooLarge(f"{length} bytes are more than the service's disk has room for", code="no_space")
    quotas.room(session, owner, length)


def opened(owner: str, upload_id: str) -> Parts:
    """The file of an upload, locked. Locked where another request is at it."""
    with db.session() as session:
        row = find(session, owner, upload_id)
        if row.completed_at is not None:
            raise Conflict(f"All of this upload has arrived: GET /uploads/{row.id}", code="upload_complete")
    return Parts(storage().spool("resumable") / row.id)


def begin(parts: Parts, owner: str, upload_id: str, offset: int, length: int | None) -> ResumableUpload:
    """Where a part starts. Conflict where that is not the end of what has arrived."""
    with db.session() as session:
        row = find(session, owner, upload_id)
        if offset != row.received or row.completed_at is not None:
            raise Conflict(
                f"{row.received} bytes have arrived, so that a part starts there and not at {offset}",
                code="offset_differs",
            )
        if length is not None and row.length is None:
            if length < row.received:
                raise Malformed.at("Upload-Length:", f"{row.received} bytes have arrived already")
            check_room(session, owner, length - row.received)
            incoming.set_length(session, row, length)
        elif length not in {None, row.length}:
            raise Malformed.at("Upload-Length:", f"is {row.length}, and cannot change")
        parts.start(row.received)
        return row


async def receive(request: Request, parts: Parts, row: ResumableUpload, check: Checksum | None) -> ResumableUpload:
    """Add the body; how the upload is then. Whatever ends it early, what has arrived stays and is counted.

    With a checksum a part counts as a whole or not at all.
    """
    bound = await asyncio.to_thread(_bound, row)
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and row.received + int(claimed) > bound.most:
        raise bound.refusal
    start, sum_ = row.received, None if check is None else check.start()
    try:
        await _write(request, parts, row, bound, sum_)
    except BaseException as error:
        if check is None:
            await asyncio.to_thread(_count, parts, row.id)
        if isinstance(error, ClientDisconnect):
            raise Malformed("The connection ended before the whole part was sent; HEAD tells where to go on") from None
        raise
    if check is not None and sum_ is not None and not compare_digest(sum_.digest(), check.digest):
        await asyncio.to_thread(parts.start, start)
        raise ChecksumMismatch(f"The {check.algorithm} of the part is another; nothing of it was kept, send it again")
    return await asyncio.to_thread(_count, parts, row.id)


def _bound(row: ResumableUpload) -> quotas.Bound:
    """How much may have arrived with this part. Room for a length that is known was kept when it was said."""
    if row.length is not None:
        return quotas.Bound(row.length, TooLarge(f"This upload has {row.length} bytes, and more came"))
    allowed = settings().max_upload_bytes
    with db.session() as session:
        left = quotas.room(session, row.owner)
    bounds = [
        quotas.Bound(allowed, TooLarge(f"An upload is at most {allowed} bytes, and more came")),
        *quotas.bound(row.owner, None if left is None else row.received + left),
    ]
    return min(bounds, key=lambda bound: bound.most)


async def _write(request: Request, parts: Parts, row: ResumableUpload, bound: quotas.Bound, sum_: Any) -> None:
    held = bytearray()
    counted, counted_at = parts.size, time.monotonic()

    async def write() -> None:
        chunk = bytes(held)
        held.clear()
        if sum_ is not None:
            sum_.update(chunk)
        await asyncio.to_thread(parts.write, chunk)

    try:
        async for chunk in request.stream():
            held += chunk
            if parts.size + len(held) > bound.most:
                del held[bound.most - parts.size :]
                raise bound.refusal
            if len(held) >= _CHUNK:
                await write()
            if sum_ is None and (parts.size - counted >= _COUNT_BYTES or time.monotonic() - counted_at >= _COUNT_S):
                await asyncio.to_thread(_count, parts, row.id)
                counted, counted_at = parts.size, time.monotonic()
    finally:
        if held:
            await write()


def _count(parts: Parts, upload_id: str) -> ResumableUpload:
    """Put on disk what has arrived, then say so."""
    received = parts.sync()
    with db.session() as session:
        row = incoming.advance(session, upload_id, received)
    if row is None:
        raise NotFound("This upload was ended while the part came")
    if storage().free_bytes() < settings().min_free_bytes:
        raise Unavailable("The service's disk is nearly full; go on later", code="no_space")
    return row


def finish(row: ResumableUpload) -> ResumableUpload:
    """Make the upload of what is whole. The caller has it locked; a second time changes nothing."""
    folder = storage().spool("resumable")
    stored = storage().adopt(folder / row.id)
    with db.session() as session:
        held = session.get_one(ResumableUpload, row.id, with_for_update=True)
        if held.completed_at is None:
            incoming.complete(session, held, stored)
            session.refresh(held)
    # Not before the commit: without the row the file would be all there is.
    forget(folder, row.id)
    return held


def state(owner: str, upload_id: str) -> ResumableUpload:
    """How an upload is. One that had arrived whole when its process was killed is finished here."""
    with db.session() as session:
        row = find(session, owner, upload_id)
    if row.completed_at is None and row.received == row.length:
        with suppress(Locked, Conflict), opened(owner, upload_id):
            return finish(row)
    return row


def end(owner: str, upload_id: str) -> None:
    """Forget an upload and what has arrived of it; an upload that was made of it stays."""
    with db.session() as session:
        row = find(session, owner, upload_id)
    folder = storage().spool("resumable")
    with Parts(folder / row.id), db.session() as session:
        incoming.end(session, row.id)
    forget(folder, row.id)


def tidy() -> None:
    """Remove rows whose time is over, and files on this machine that no row needs."""
    folder = storage().spool("resumable")
    old = leftovers(folder)
    with db.session() as session:
        incoming.forget_expired(session)
        needed = incoming.known(session, old)
    for name in set(old) - needed:
        forget(folder, name)


async def tidy_on_and_on() -> None:
    """Tidy as long as the process lives."""
    while True:
        try:
            await asyncio.to_thread(tidy)
        except (SQLAlchemyError, Unavailable) as error:
            log.warning("the spool of resumable uploads is not tidied for now: %s", error.__class__.__name__)
        await asyncio.sleep(_TIDY_S)

"""A POST that is sent again: the answer is stored in the transaction that makes the thing, and given again.

    with once.transaction() as session:
        thing = ...
        answer = once.answer(view_of(thing), location=f"/things/{thing.id}")
    return answer

Keys are of one owner and one route, the ids in its path included. Errors are not kept: a POST that was refused may be
sent again with the same key.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from pydantic import BaseModel
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.callers import Who
from core import db
from core.errors import InFlight, Invalid
from core.settings import settings
from models.tables import IdempotencyKey

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x20-\x7e]{1,255}$",
        description="Up to 255 printable ASCII characters of your choice. Sent again with the same body, the request "
        "gets its first answer again and makes nothing; with another body it is refused (422), and while the first is "
        "being answered 409. The service keeps a key for `DISTILLERY_IDEMPOTENCY_S`, a day unless set otherwise.",
        examples=["3f1c7f0e-order-17"],
    ),
]


class Replayed(Exception):
    """The request was answered before: `response` is that answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Once:
    """One POST. Without a key it is an ordinary transaction and an ordinary answer."""

    def __init__(self, request: Request, owner: str, key: str | None) -> None:
        self._request = request
        self._owner = owner
        self._key = key
        self._session: Session | None = None
        self._body_sha256 = ""

    @property
    def key(self) -> str | None:
        """The caller's key."""
        return self._key

    @property
    def place(self) -> tuple[str, str, str | None]:
        """What a key is unique in."""
        return self._owner, self._route, self._key

    @property
    def _route(self) -> str:
        return f"{self._request.method} {self._request.scope['path']}"

    @contextmanager
    def transaction(self, body_sha256: str | None = None) -> Iterator[Session]:
        """A transaction that makes its thing once. `body_sha256`: of a body that was not read as JSON.

        Raises Replayed where the key has an answer, Invalid where that is of another body, InFlight where another
        request with the key is at it. The lock is the transaction's: it goes with it, however it ends.
        """
        with db.session() as session:
            self._session = session
            if self._key is not None:
                self._body_sha256 = self._fingerprint(body_sha256)
                self._claim(session)
            yield session

    def replay(self, body_sha256: str) -> None:
        """Raise Replayed or Invalid where the key has an answer already; for bodies better not read twice."""
        if self._key is not None:
            with db.session() as session:
                self._answer_again(session, self._fingerprint(body_sha256))

    def answer(
        self,
        view: BaseModel,
        *,
        location: str | None = None,
        etag: str | None = None,
        secret: frozenset[str] = frozenset(),
    ) -> Response:
        """The answer with the route's status; fields named in `secret` are null where it is replayed.

        Whoever lost the first answer to a POST /keys makes another key: a stored one would be no secret.
        """
        found = {"Location": location, "ETag": etag}
        headers = {name: value for name, value in found.items() if value is not None}
        body = view.model_dump_json(by_alias=True)
        kept = view.model_copy(update=dict.fromkeys(secret)).model_dump_json(by_alias=True) if secret else body
        return self.respond(body, headers, kept=kept)

    def respond(self, body: str, headers: Mapping[str, str], *, kept: str | None = None) -> Response:
        """An answer of text and headers, stored where there is a key."""
        status = self._request.scope["route"].status_code or 200
        if self._key is not None:
            assert self._session is not None, "an answer is given within the transaction"
            self._session.add(
                IdempotencyKey(
                    owner=self._owner,
                    key=self._key,
                    route=self._route,
                    body_sha256=self._body_sha256,
                    status=status,
                    headers=dict(headers),
                    body=body if kept is None else kept,
                )
            )
            self._session.flush()
        return _response(status, headers, body)

    def _claim(self, session: Session) -> None:
        name = "\n".join(("idempotency", self._owner, self._route, self._key or ""))
        if not session.scalar(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))):
            raise InFlight(
                "Another request with this Idempotency-Key is being answered; send this one again in a second"
            )
        self._answer_again(session, self._body_sha256)
        # What is left under the key has expired.
        session.execute(delete(IdempotencyKey).where(*self._mine()))

    def _answer_again(self, session: Session, body_sha256: str) -> None:
        young = IdempotencyKey.created_at > func.now() - timedelta(seconds=settings().idempotency_s)
        earlier = session.scalars(select(IdempotencyKey).where(young, *self._mine())).one_or_none()
        if earlier is None:
            return
        if earlier.body_sha256 != body_sha256:
            message = "This key was used with another body; send the body it was first sent with, or a new key"
            raise Invalid.at("Idempotency-Key:", message, code="idempotency_key_reused")
        raise Replayed(_response(earlier.status, {**earlier.headers, "Idempotent-Replayed": "true"}, earlier.body))

    def _mine(self) -> list[Any]:
        table = IdempotencyKey
        return [table.owner == self._owner, table.route == self._route, table.key == self._key]

    def _fingerprint(self, body_sha256: str | None) -> str:
        """The same for two spellings of one JSON body: the order of fields and spaces do not count."""
        if body_sha256 is None:
            body = getattr(self._request.state, "parsed_body", None)
            body_sha256 = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return hashlib.sha256(self._request.scope["query_string"] + b"\n" + body_sha256.encode()).hexdigest()


def _response(status: int, headers: Mapping[str, str], body: str) -> Response:
    return Response(body, status_code=status, headers=dict(headers), media_type="application/json" if body else None)


async def _once(request: Request, who: Who, key: Key = None) -> Once:
    # async although it waits for nothing: a plain function would cost each request a trip to a thread.
    return Once(request, who.owner, key)


#: What a POST that makes or changes something takes.
Post = Annotated[Once, Depends(_once)]


async def _replayed(_: Request, error: Exception) -> Response:
    assert isinstance(error, Replayed)
    return error.response


def install(app: FastAPI) -> None:
    """Let replays be answers."""
    app.add_exception_handler(Replayed, _replayed)

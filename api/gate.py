"""The gate: no request goes on without a key that is good and a role that reaches, but to the few open routes.

It decides by method and path before any route is chosen, so that a route which nobody thought of is closed. While no
key exists at all, whoever reaches the service is its owner: then it listens on this machine alone (`api.main`).

A key that was found good is believed for two seconds, in each process of the API: a poll costs no second query, and a
key that is revoked or expires opens nothing two seconds later.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from api.callers import LOCAL, Caller
from api.errors import DATABASE_DOWN, of_error
from core import db, keys
from core.errors import Forbidden, RequestError, Unauthorized, Unavailable
from core.keys import Found
from core.settings import settings
from models.roles import Role

log = logging.getLogger("distillery.api")

_FRESH_S = 2.0
_STALE_S = 600.0
_TOUCH_S = 60.0
#: So many tokens are kept in mind.
_MOST = 4096

_OPEN = frozenset({"/", "/docs", "/healthz", "/readyz", "/openapi.json"})
_OPEN_BELOW = ("/docs/", "/catalog/")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: What it speaks of tus is the same for all, and asked by clients that have not been given a key yet.
_TUS = "/uploads/resumable"
#: They make nothing, though they are asked for by POST.
_ALSO_READING = frozenset({"/jobs/validate"})
_RANK = {Role.VIEWER: 0, Role.USER: 1, Role.ADMIN: 2}

_REFUSALS = {
    "key_missing": "Send a key: `Authorization: Bearer dk_...`. Whoever runs the service makes one with `make key`",
    "key_unknown": "There is no such key; check that the whole token is sent, as in `Authorization: Bearer dk_...`",
    "key_revoked": "This key was revoked; ask whoever runs the service for a new one",
    "key_expired": "This key has expired; ask whoever runs the service for a new one",
}

Answer = TypeVar("Answer")


def needed(method: str, path: str) -> Role | None:
    """The least role that reaches; None where everyone may."""
    if method == "OPTIONS" and (path == _TUS or path.startswith(f"{_TUS}/")):
        return None
    if path in _OPEN or path.startswith(_OPEN_BELOW) or (path == "/metrics" and settings().metrics_open):
        return None
    if path in {"/metrics", "/keys"} or path.startswith("/keys/"):
        return Role.ADMIN
    return Role.VIEWER if method in _READING or path in _ALSO_READING else Role.USER


class _Once:
    """Answers that are kept for a moment; who asks while one is being fetched waits for that one.

    Where it cannot be fetched because the database is away, the last one holds for ten minutes: then the service can
    still say so to Prometheus, and nothing else that a key opens works without the database.
    """

    def __init__(self) -> None:
        self._asked: dict[Any, tuple[float, asyncio.Task[Any]]] = {}
        self._told: dict[Any, tuple[float, Any]] = {}

    async def get(self, question: Any, fetch: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer that is known, or what `fetch` gives."""
        now = time.monotonic()
        at, task = self._asked.get(question, (0.0, None))
        if task is None or now - at > _FRESH_S or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(fetch())
            _keep(self._asked, question, (now, task))
        try:
            # One who goes away must not take the answer along.
            answer: Answer = await asyncio.shield(task)
        except (*DATABASE_DOWN, Unavailable):
            at, answer = self._told.get(question, (-_STALE_S, None))
            if now - at >= _STALE_S:
                raise
            return answer
        _keep(self._told, question, (now, answer))
        return answer

    def forget(self) -> None:
        """Fetch everything anew."""
        self._asked.clear()


def _keep(known: dict[Any, Any], question: Any, answer: Any) -> None:
    known.pop(question, None)
    known[question] = answer
    while len(known) > _MOST:
        del known[next(iter(known))]


class Gate:
    """Says who calls. Used from one event loop."""

    def __init__(self) -> None:
        self._once = _Once()
        self._closed = False
        self._touched: dict[str, float] = {}
        self._touching: set[asyncio.Task[None]] = set()

    async def caller(self, authorization: str | None) -> Caller:
        """The caller of this header. Unauthorized where a key is needed and there is no good one."""
        if not await self._is_closed():
            return LOCAL
        scheme, _, token = (authorization or "").strip().partition(" ")
        if not authorization:
            raise _refusal("key_missing")
        token = token.strip()
        if scheme.lower() != "bearer" or not keys.may_be_token(token):
            raise _refusal("key_unknown")
        asked_at, found = await self._once.get(hashlib.sha256(token.encode()).digest(), partial(_looked_up, token))
        if found is None:
            raise _refusal("key_unknown")
        if found.revoked:
            raise _refusal("key_revoked")
        if found.expires_in_s is not None and time.monotonic() - asked_at >= found.expires_in_s:
            raise _refusal("key_expired")
        self._note(found.id)
        return Caller(found.owner, found.role, found.id)

    def forget(self) -> None:
        """A key was made or revoked here: believe nothing of before."""
        self._once.forget()
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """Whether uses of keys are being written down."""
        return bool(self._touching)

    async def stop(self) -> None:
        """Until they are."""
        await asyncio.gather(*self._touching)

    async def _is_closed(self) -> bool:
        """Whether there are keys. Keys are never deleted, so that what is closed stays so."""
        if not self._closed:
            self._closed = await self._once.get("closed", _any_keys)
        return self._closed

    def _note(self, key_id: str) -> None:
        """Write down that the key was used, at most once a minute, while the request goes on."""
        now = time.monotonic()
        if now - self._touched.get(key_id, -_TOUCH_S) < _TOUCH_S:
            return
        self._touched[key_id] = now
        task = asyncio.create_task(_touched(key_id))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


def _refusal(code: str) -> Unauthorized:
    return Unauthorized(_REFUSALS[code], code=code)


async def _looked_up(token: str) -> tuple[float, Found | None]:
    def look() -> Found | None:
        with db.session() as session:
            return keys.look_up(session, token)

    return time.monotonic(), await run_in_threadpool(look)


async def _any_keys() -> bool:
    def look() -> bool:
        with db.session() as session:
            return keys.exist(session)

    return await run_in_threadpool(look)


async def _touched(key_id: str) -> None:
    def touch() -> None:
        with db.session() as session:
            keys.touch(session, key_id)

    try:
        await run_in_threadpool(touch)
    except (*DATABASE_DOWN, Unavailable) as error:
        log.warning("the last use of a key was not written down: %s", error.__class__.__name__)


class GateMiddleware:
    """Puts the caller into the scope, or answers by itself."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            scope["caller"] = await self._admitted(scope)
        except RequestError as error:
            challenge = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
            await of_error(error, headers=challenge)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _admitted(self, scope: Scope) -> Caller | None:
        role = needed(scope["method"], scope["path"])
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        # The docs page names the things of a caller who is known; to everyone else the open routes are the same.
        if role is None and scope["path"] != "/openapi.json":
            return None
        try:
            caller = await self.gate.caller(None if authorization is None else authorization.decode("latin-1"))
        except (Unauthorized, Unavailable, *DATABASE_DOWN) as error:
            if role is None:
                return None
            if isinstance(error, DATABASE_DOWN):
                log.warning("the database does not answer: %s", error.__class__.__name__)
                raise Unavailable("The database does not answer. Send the request again in a few seconds") from error
            raise
        if role is not None and _RANK[caller.role] < _RANK[role]:
            detail = f"This needs a key with the role `{role}`; this one has the role `{caller.role}`"
            raise Forbidden(detail)
        return caller

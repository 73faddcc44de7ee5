"""What every request passes before anyone asks who sent it, and what every answer carries.

The name it was sent to must be one of ours, a page of another site may change nothing, and a body must keep coming. No
decision is taken from `request.url`, which is made of the Host header that the caller wrote.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from ipaddress import ip_address

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import request_id
from api.callers import Caller
from api.errors import BodyRefused, of_error
from core.errors import Forbidden, Malformed, RequestError, TooSlow
from core.settings import settings

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_ON_ALL = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers are data. The docs page has a policy of its own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_STATIC = "/docs/static/"


class Service(FastAPI):
    """FastAPI whose every answer, that of a bug included, has the headers that keep browsers from doing harm."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return

        id_ = request_id.begin(Headers(scope=scope).get(request_id.HEADER))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[request_id.HEADER] = id_
                _add_headers(headers, scope["path"])
            await send(message)

        await super().__call__(scope, receive, guarded)


def _add_headers(headers: MutableHeaders, path: str) -> None:
    for name, value in _ON_ALL.items():
        if name != "Cache-Control" or not path.startswith(_STATIC):
            headers.setdefault(name, value)
    if settings().tls:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _trusted() -> frozenset[str]:
    """The names by which the service may be called; empty: any."""
    named = {name.strip().lower() for name in settings().hosts.split(",") if name.strip()}
    if named:
        return frozenset(named | _LOOPBACK)
    # A page in a browser of this machine can point a name of its own at this address (DNS rebinding).
    return _LOOPBACK if is_loopback(settings().host) else frozenset()


class DoorMiddleware:
    """Refuses what is not meant for us, and bounds the time of what is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            _check_host(Headers(scope=scope).getlist("host"), scope["http_version"])
        except RequestError as error:
            await of_error(error)(scope, receive, send)
            return
        await self.app(scope, _Coming(receive).receive, send)


def _check_host(given: Iterable[str], http_version: str) -> None:
    hosts = list(given)
    if not hosts and http_version == "1.0":
        return
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found is None:
        raise Malformed("A request has one header Host, with the name of the service in it", code="host_not_allowed")
    trusted = _trusted()
    if trusted and found["name"].strip("[]").lower() not in trusted:
        raise Malformed(
            "The service does not go by the name in the header Host; whoever runs it lists its names in "
            "DISTILLERY_HOSTS",
            code="host_not_allowed",
        )


class OriginMiddleware:
    """While there are no keys, a page of another site that is open in a browser of this machine must change nothing.

    With keys it cannot: it has none, and the browser asks before it sends a header of ours.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or not."""
        caller: Caller | None = scope.get("caller") if scope["type"] == "http" else None
        if caller is not None and caller.key_id is None and scope["method"] not in _SAFE:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and origin.partition("://")[2] != headers.get("host"):
                error = Forbidden("A page of another site may change nothing here", code="other_origin")
                await of_error(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class _Coming:
    """The body of a request as it comes. Time counts while we wait for the sender, not while we are at work."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._waited_s = 0.0
        self._bytes = 0
        self._whole = False

    async def receive(self) -> Message:
        """The next part. TooSlow where it does not come, or where all came more slowly than the least rate."""
        if self._whole:
            # What is waited for now is that the caller goes away.
            return await self._receive()
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(settings().body_idle_s):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow(f"Nothing of the body came for {settings().body_idle_s:g} s") from None
        self._waited_s += time.monotonic() - began_at
        self._bytes += len(message.get("body", b""))
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        spare_s = self._waited_s - settings().body_idle_s
        if not self._whole and self._bytes < spare_s * settings().body_least_rate:
            raise _too_slow(f"The body came at less than {settings().body_least_rate} bytes a second")
        return message


def _too_slow(what: str) -> BodyRefused:
    return BodyRefused(TooSlow(f"{what}; send it again, or in parts, which may break off: POST /uploads/resumable"))

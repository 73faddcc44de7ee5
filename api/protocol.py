"""HTTP/1.1 as uvicorn speaks it, with an end to requests that do not come: the head of a request has a size and a time.

Neither uvicorn nor its parser bounds either; what is refused here never reaches the application.
"""

import asyncio
import json
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from core.settings import settings

log = logging.getLogger("distillery.api")

#: The longest address and the most headers; browsers and proxies send less than a tenth.
MAX_URL_BYTES = 16 * 2**10
MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 * 2**10

_HEADERS = (
    b"content-type: application/problem+json\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n"
    b"connection: close\r\n"
)
_TITLES = {
    400: ("malformed", "The request cannot be read"),
    408: ("too_slow", "The request came too slowly"),
    414: ("url_too_long", "The address is too long"),
    431: ("headers_too_large", "The headers are too large"),
    503: ("too_many_connections", "Too many connections"),
}


_TOO_LARGE = f"There may be {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes together"


class _Refused(Exception):
    """Raised in the parser's callbacks; it comes out of it as a parser's error."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None
        self._refusal: tuple[int, str] | None = None
        self._head_bytes = 0
        self._fed = 0
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the head of the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_head()
        if len(self.connections) > settings().max_connections:
            self._refuse(503, "The service has as many connections as it takes; try again in a few seconds")

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._ended = True
        super().connection_lost(exc)
        self._leave_reader()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the connection is over."""
        if self._ended or self.transport.is_closing():
            return
        if self._deadline is None and self._is_idle():
            self._await_head()
        self._refusal = None
        self._fed += len(data)
        super().data_received(data)
        # The parser keeps a header to itself until the whole of it is there.
        if self._deadline is not None and self._fed > MAX_HEAD_BYTES:
            self._refuse(431, _TOO_LARGE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it says less than we know
        """What the parser could not read, or what was refused while it did."""
        status, detail = self._refusal or (400, "This is no HTTP request that can be read")
        self._refuse(status, detail)

    def pause_writing(self) -> None:
        """The other end reads more slowly than we write: see whether it reads at all."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._leave_reader()

    def _watch_reader(self) -> None:
        self._leave_reader()
        unread = self.transport.get_write_buffer_size()
        self._reader = self.loop.call_later(settings().answer_idle_s, self._look_at_reader, unread)

    def _leave_reader(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _look_at_reader(self, unread: int) -> None:
        least = settings().answer_idle_s * settings().body_least_rate
        if unread - self.transport.get_write_buffer_size() >= least:
            self._watch_reader()
        else:
            # A close would wait until all is read.
            log.info("a connection was ended: its answer is not read")
            self.transport.abort()

    def on_message_begin(self) -> None:
        """The head begins: nothing of it has come."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refusal = 414, f"An address is at most {MAX_URL_BYTES} bytes"
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._refusal = 431, _TOO_LARGE
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._fed = 0
        self._deadline = self.loop.call_later(settings().head_s, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        self._refuse(408, f"The head of a request has {settings().head_s:g} s to come")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and end. An answer that has begun is not written into: then the connection just ends."""
        self._stop_waiting()
        self._ended = True
        if self.transport.is_closing():
            return
        code, title = _TITLES[status]
        log.info("a connection was ended: %s", code)
        if self._is_idle():
            body = {"type": f"/docs/errors#{code}", "title": title, "status": status}
            content = json.dumps({**body, "detail": detail, "code": code, "errors": []}).encode()
            length = b"content-length: %d\r\n\r\n" % len(content)
            self.transport.write(b"".join([STATUS_LINE[status], _HEADERS, length, content]))
        self.transport.close()

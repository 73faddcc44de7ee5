"""How JSON bodies are read: bounded, and refused with a reason where the parser or the database would choke on them."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.errors import BodyRefused
from api.pointers import pointer_to
from core.errors import Invalid, Malformed, TooLarge

#: Room for 100,000 class names of 200 characters, and more than any other body needs.
MAX_JSON_BYTES = 32 * 2**20


class _JsonRequest(Request):
    """Reads at most MAX_JSON_BYTES."""

    async def body(self) -> bytes:
        """The whole body; BodyRefused (413) past the limit, before reading it where its length is claimed."""
        if not hasattr(self, "_body"):
            claimed = self.headers.get("content-length", "0")
            if claimed.isdecimal() and int(claimed) > MAX_JSON_BYTES:
                raise _too_large()
            self._body = await self._bounded()
        return self._body

    async def _bounded(self) -> bytes:
        whole = bytearray()
        async for chunk in self.stream():
            whole += chunk
            if len(whole) > MAX_JSON_BYTES:
                raise _too_large()
        return bytes(whole)

    async def json(self) -> Any:
        """The parsed body, which `parsed_body` gives again to whoever points into it."""
        try:
            value = json.loads(await self.body())
        except json.JSONDecodeError:
            raise
        except RecursionError:
            raise BodyRefused(Malformed("The body is nested too deeply")) from None
        except ValueError as error:  # not UTF-8, or a number of thousands of digits
            raise BodyRefused(Malformed(f"The body cannot be read: {str(error)[:200]}")) from None
        if where := _first_nul(value):
            raise BodyRefused(
                Invalid.at(pointer_to(where[1:], value), "Text must not contain the character U+0000; leave it out")
            )
        self.state.parsed_body = value
        return value


def _too_large() -> BodyRefused:
    return BodyRefused(
        TooLarge(f"A JSON body is at most {MAX_JSON_BYTES} bytes; files go to POST /uploads, which takes any size")
    )


def _first_nul(value: Any) -> tuple[int | str, ...] | None:
    """Where a text with U+0000 is, which PostgreSQL cannot store; the path starts with an empty part for the root."""
    stack: list[tuple[tuple[int | str, ...], Any]] = [(("",), value)]
    while stack:
        where, node = stack.pop()
        if isinstance(node, dict):
            if any("\x00" in key for key in node):
                return where
            stack.extend(((*where, key), item) for key, item in node.items())
        elif isinstance(node, list):
            stack.extend(((*where, index), item) for index, item in enumerate(node))
        elif isinstance(node, str) and "\x00" in node:
            return where
    return None


def parsed_body(request: Request) -> Any:
    """The caller's body as it was written, for pointers into it."""
    return request.state.parsed_body


class JsonRoute(APIRoute):
    """A route whose body is read by these rules."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with our reading of the body."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handler

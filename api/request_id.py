"""The id of a request: in the header X-Request-Id of its answer, in its problem, and in its line of the log.

A caller may send one of its own, so that its log and ours can be read side by side.
"""

import re
from contextvars import ContextVar

from core.ids import new_id

HEADER = "X-Request-Id"
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(given: str | None) -> str:
    """The id of the request that begins here: the caller's, or one of ours where that is none."""
    request_id = given if given is not None and _GIVEN.fullmatch(given) else new_id("req")
    _current.set(request_id)
    return request_id


def current() -> str:
    """The id of the request that is being answered; empty outside one."""
    return _current.get()

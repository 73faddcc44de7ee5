"""Logging: one line a record, as key=value or as JSON, with the job that the thread or request is busy with.

Passwords never reach a line: they are cut from addresses wherever those appear, tracebacks included.
"""

import json
import logging
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from core.settings import settings

_bound: ContextVar[dict[str, Any]] = ContextVar("bound", default={})  # noqa: B039 - it is replaced, never changed

_ORDINARY = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
#: The password of an address: scheme://user:PASSWORD@host.
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s@/]+@")
_NAMED = re.compile(
    r"(?i)\b(password|passwd|secret|secret_access_key|authorization)(\s*[=:]\s*)(bearer\s+)?[^\s,;}\"']+"
)
_PLAIN = re.compile(r"[^\s=\"\\]+")


def configure() -> None:
    """Send every record of this process to stderr, as the settings want it. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings().log_json else _KeyValue())
    logging.basicConfig(level=settings().log_level.upper(), handlers=[handler], force=True)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Within the block, every record of this thread or task carries the fields: `bound(job=..., attempt=...)`."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def without_secrets(text: str) -> str:
    """The text with *** where a password stood."""
    return _NAMED.sub(r"\1\2***", _IN_ADDRESS.sub(r"\1***@", text))


def _clean(value: Any) -> Any:
    """The same without secrets, and of JSON's types alone."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, dict):
        return {str(key): _clean(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean(each) for each in value]
    return without_secrets(str(value))


class _Fields(logging.Formatter):
    """A record as an ordered dict of fields."""

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, Any] = {
            "at": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_bound.get(),
            **{name: value for name, value in record.__dict__.items() if name not in _ORDINARY},
        }
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return {name: _clean(value) for name, value in found.items()}


class _Json(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record))


class _KeyValue(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_word(value)}" for name, value in self.fields(record).items())


def _word(value: Any) -> str:
    """Bare where that is clear, else as a JSON string: no value breaks the line or looks like another field."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)

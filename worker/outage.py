"""What the absence of the database or the store looks like, and how to wait for its return."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import Unavailable

#: Any other error of the database is a fault of ours, which no waiting mends.
OUTAGE = (OperationalError, InterfaceError, PoolTimeout, Unavailable)

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 10.0

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def reason(error: Exception) -> str:
    """What went wrong, in one line: the database's own words without the statement."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def patiently(
    what: str, work: Callable[[], Result], check: Callable[[], None], *, over: tuple[type[Exception], ...] = OUTAGE
) -> Result:
    """`work()`, tried again with growing waits while it raises one of `over`. `check` may raise to end the wait."""
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            return work()
        except over as error:
            log.warning("%s is put off: %s", what, reason(error))
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            check()
            time.sleep(min(0.25, wait_s))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

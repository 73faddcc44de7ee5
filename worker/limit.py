"""When a child is ended by force: it was asked to stop and has not, it makes no step, or its time is over."""

import math
import signal
import time

from core.errors import Deadline, Infra
from core.settings import Settings
from worker.book import Book
from worker.watch import Halt

#: The engine ends itself at its deadline and leaves a checkpoint; this much later it is ended.
_DEADLINE_MARGIN_S = 60.0


class Limit:
    """The clocks of one child, which has `left_s` seconds to run."""

    def __init__(self, settings: Settings, left_s: float) -> None:
        self._settings = settings
        self._deadline = time.monotonic() + left_s + _DEADLINE_MARGIN_S
        self._kill_at = math.inf
        self._size = -1
        self._moved_at = time.monotonic()

    def asked(self, halt: Halt) -> None:
        """The child was asked to stop. A cancel is quick; what is to go on later is given time for a checkpoint."""
        grace_s = self._settings.cancel_grace_s if halt is Halt.CANCELLED else self._settings.drain_grace_s
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)

    def grace_is_over(self) -> bool:
        """True where it was asked and has not stopped in time."""
        return time.monotonic() > self._kill_at

    def check(self, book: Book) -> None:
        """Raise Infra where the child has written no line for too long, Deadline where its time is over."""
        now = time.monotonic()
        if book.size() != self._size:
            self._size, self._moved_at = book.size(), now
        if now - self._moved_at > self._settings.stall_s:
            raise Infra(
                f"The training process made no step for {self._settings.stall_s:.0f} s {book.place} and was ended.",
                code="stalled",
                extra={"exit_code": -signal.SIGKILL, "place": book.place.as_dict()},
            )
        if now > self._deadline:
            raise Deadline(
                "limits.max_seconds was reached and the training did not end by itself: raise it, or train less."
            )

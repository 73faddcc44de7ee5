"""When to stop: asked to by a signal, or out of time. Looked at between steps, so that a step is always whole."""

import signal
import time
from math import inf
from types import FrameType

from core.errors import Deadline


class Stopped(Exception):
    """The engine was asked to stop."""


class Stop:
    """What was asked of the engine from outside, and its time limit."""

    def __init__(self) -> None:
        self.requested = False
        self.checkpoint_requested = False
        self._start = time.monotonic()
        self._max_seconds = inf

    def listen(self) -> None:
        """SIGTERM and SIGINT ask to stop, SIGUSR1 for a checkpoint now."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGUSR1, self._checkpoint)

    def check(self) -> None:
        """Raises Stopped or Deadline where it is time to go."""
        if self.requested:
            raise Stopped
        if time.monotonic() - self._start > self._max_seconds:
            raise Deadline(
                f"the job ran for the {self._max_seconds:.0f} seconds that were left of limits.max_seconds: raise "
                "it, or train for fewer epochs"
            )

    def limit(self, max_seconds: float) -> None:
        """The time limit, once it is known; it counts from the start."""
        self._max_seconds = max_seconds

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True

    def _checkpoint(self, _signal: int, _frame: FrameType | None) -> None:
        self.checkpoint_requested = True

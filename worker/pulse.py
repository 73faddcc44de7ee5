"""A lease's heartbeat, in a thread of its own: it goes on while the owner stages, trains, publishes or waits.

While the database is away it keeps trying: whether the lease still holds is decided there, by the first beat that gets
through, and not by a clock of ours.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from worker.outage import OUTAGE, reason

log = logging.getLogger(__name__)


class Pulse:
    """Calls `beat` every `every_s` and `look` every `look_s` in between, until the block ends or one raises `lost`."""

    def __init__(
        self,
        beat: Callable[[], None],
        every_s: float,
        lost: type[Exception],
        *,
        look: Callable[[], None],
        look_s: float,
    ) -> None:
        self._beat, self._every_s = beat, every_s
        self._look, self._look_s = look, look_s
        self._lost = lost
        self._due = time.monotonic() + every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        #: True once the lease is somebody else's: write nothing more.
        self.is_lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        is_away = False
        while not self._end.wait(self._look_s):
            try:
                self._once()
                is_away = False
            except self._lost:
                self.is_lost = True
                return
            except OUTAGE as error:
                if not is_away:
                    log.warning("no heartbeat for now, the database is away: %s", reason(error))
                is_away = True
                self._due = 0.0

    def _once(self) -> None:
        if time.monotonic() < self._due:
            self._look()
        else:
            self._beat()
            self._due = time.monotonic() + self._every_s

"""The wish to end soon: stop claiming, let what runs write a checkpoint, give it back, exit.

One byte of shared memory, made before Celery forks, carries the wish from the parent to every pool process; a process
that is asked by SIGTERM itself has a flag of its own, so that one process that is stopped does not stop its siblings.
"""

import mmap
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_everywhere = mmap.mmap(-1, 1)
_here = False


def request() -> None:
    """Ask this process and all that were forked from it."""
    _everywhere[0] = 1


def requested() -> bool:
    """True once anybody asked."""
    return _here or _everywhere[0] == 1


@contextmanager
def on_sigterm() -> Iterator[None]:
    """For the time of the block SIGTERM asks this process to drain; after it, the process ends of it as usual."""
    before = signal.signal(signal.SIGTERM, _ask_here)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if _here:
            signal.raise_signal(signal.SIGTERM)


def _ask_here(_signum: int, _frame: FrameType | None) -> None:
    global _here  # noqa: PLW0603 - a signal is the process's own
    _here = True

"""`python -m worker.health`: exit code 0 where the worker of this machine does its rounds; a container's health check.

The patrol leaves a mark after each round, and a round ends only where the database answers. A ping over the broker says
less: a worker that no longer takes messages still answers it, and one with every process at work does not.
"""

import socket
import sys
import time
from pathlib import Path

from core.settings import settings

#: So many rounds may be missed, and one may take so much longer, before something is wrong.
_ROUNDS = 3
_SLACK_S = 20.0


def mark() -> None:
    """Say that a round has ended."""
    _mark().touch()


def unmark() -> None:
    """Say that there will be no more."""
    _mark().unlink(missing_ok=True)


def seconds_since_round() -> float | None:
    """How old the mark is; None where there is none."""
    try:
        return time.time() - _mark().stat().st_mtime
    except FileNotFoundError:
        return None


def patience_s() -> float:
    """After so many seconds without the end of a round something is wrong."""
    return _ROUNDS * settings().sweep_s + _SLACK_S


def main() -> int:
    """The door."""
    age_s = seconds_since_round()
    if age_s is not None and age_s <= patience_s():
        return 0
    sys.stderr.write("no worker runs here\n" if age_s is None else f"the last round ended {age_s:.0f} s ago\n")
    return 1


def _mark() -> Path:
    # By the machine's name: the folder may be a volume that several containers share.
    return settings().data_dir / f"worker-{socket.gethostname()}.alive"


if __name__ == "__main__":
    sys.exit(main())

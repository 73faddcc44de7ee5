"""`python -m worker.once jobs|checks`: take what waits in PostgreSQL, without any message, and end.

The patrol starts it when a message has evidently not come: Redis is away, or Celery no longer listens to it. It is a
process of its own rather than a thread of the parent, because the parent forks, and because a supervisor must be able
to be killed alone.
"""

import sys

from core.logs import configure
from worker import drain
from worker.loop import run_checks, run_jobs


def main(arguments: list[str]) -> int:
    """The door."""
    runs = {"jobs": run_jobs, "checks": run_checks}
    if len(arguments) != 1 or arguments[0] not in runs:
        sys.stderr.write("usage: python -m worker.once jobs|checks\n")
        return 2
    configure()
    with drain.on_sigterm():
        runs[arguments[0]]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m worker.once jobs|checks|collect|webhooks`: what a worker does beside its messages.

The patrol starts it: for jobs and checks when a message has evidently not come (Redis is away, or Celery no longer
listens to it), to collect what nobody needs any more from time to time, and to send webhooks as long as there are any.
It is a process of its own rather than a thread of the parent, because the parent forks, and because a supervisor must
be able to be killed alone.
"""

import sys

from core.logs import configure
from core.settings import settings
from worker import drain
from worker.collect import collect
from worker.loop import run_checks, run_jobs
from worker.shelves import trim
from worker.webhooks import send_all


def main(arguments: list[str]) -> int:
    """The door."""
    runs = {"jobs": run_jobs, "checks": run_checks, "collect": _collect, "webhooks": send_all}
    if len(arguments) != 1 or arguments[0] not in runs:
        sys.stderr.write("usage: python -m worker.once jobs|checks|collect|webhooks\n")
        return 2
    configure()
    with drain.on_sigterm():
        runs[arguments[0]]()
    return 0


def _collect() -> None:
    """What this host keeps of teachers, and then what all share."""
    trim(settings())
    collect()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What makes messages mere hints: from its start a worker settles jobs of dead workers and finds forgotten work.

It runs in a thread of the worker's parent, which lives as long as the process, so that what it starts ends with it.
"""

import logging
import signal
import subprocess
import sys
import threading

from core import db, jobs, queue
from core.settings import settings
from models.status import JobStatus
from worker import health, launch
from worker.devices import devices, is_free
from worker.folders import remove_leftovers
from worker.loop import CHECK_SLOTS, locks, waiting_checks, waiting_jobs
from worker.outage import OUTAGE, reason

log = logging.getLogger(__name__)

#: A job that is put back waits a moment before its message, for its device to be let go.
_FRESH_S = 1.0


class Patrol:
    """Sweeps and looks every `settings.sweep_s`, until `stop`."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="patrol", daemon=True)
        self._helpers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start; the first look is made at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and wait for what was started: it lets go of its job first."""
        self._end.set()
        for helper in self._helpers.values():
            helper.send_signal(signal.SIGTERM)
        self._thread.join()
        for helper in self._helpers.values():
            helper.wait()
        health.unmark()

    def _run(self) -> None:
        while True:
            self._round()
            if self._end.wait(settings().sweep_s):
                return

    def _round(self) -> None:
        """One look. Whatever goes wrong with it, the next one is made."""
        try:
            remove_leftovers(settings().data_dir.resolve() / "work")
            _settle()
            self._find_jobs()
            self._find_checks()
            health.mark()
        except OUTAGE as error:
            log.warning("no sweep for now: %s", reason(error))
        except Exception:
            log.exception("a sweep failed")

    def _find_jobs(self) -> None:
        """Send a message for each free device; where messages do not help, start a process that needs none."""
        names = [device.name for device in devices(settings())]
        free = sum(is_free(locks(settings()), name) for name in names)
        if free and (waiting := waiting_jobs(_FRESH_S)):
            for job_id in waiting[:free]:
                queue.wake_job(job_id)
            if waiting_jobs(settings().requeue_s):
                self._help("jobs")

    def _find_checks(self) -> None:
        free = sum(is_free(locks(settings()), name) for name in CHECK_SLOTS)
        if free and (waiting := waiting_checks(_FRESH_S)):
            for kind, id_ in waiting[:free]:
                queue.wake_check(kind, id_)
            if waiting_checks(settings().requeue_s):
                self._help("checks")

    def _help(self, what: str) -> None:
        running = self._helpers.get(what)
        if not self._end.is_set() and (running is None or running.poll() is not None):
            log.warning("messages do not come: %s are taken from PostgreSQL without them", what)
            self._helpers[what] = subprocess.Popen(launch.command([sys.executable, "-m", "worker.once", what]))


def _settle() -> None:
    """Settle jobs whose lease has ended, and wake whoever can go on with them."""
    with db.session() as session:
        swept = jobs.sweep(session)
    for status, ids in swept.moved.items():
        log.warning("the leases of %s ended: now %s", ", ".join(ids), status.value)
    for job_id in swept.moved.get(JobStatus.QUEUED, []):
        queue.wake_job(job_id)

"""What makes messages mere hints: from its start a worker settles jobs of dead workers and finds forgotten work.

It runs in a thread of the worker's parent, which lives as long as the process, so that what it starts ends with it.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import TypeVar

from core import db, fleet, jobs, queue, webhooks
from core.settings import settings
from models.status import JobStatus
from worker import drain, health, launch
from worker.devices import devices, is_free
from worker.folders import remove_leftovers
from worker.loop import CHECK_SLOTS, locks, waiting_checks, waiting_jobs
from worker.outage import OUTAGE, reason

log = logging.getLogger(__name__)

#: What is younger has its first message on the way.
_FRESH_S = 1.0
#: After a start there is more urgent work than collecting.
_SETTLED_S = 60.0


class Patrol:
    """Sweeps and looks every `settings.sweep_s`, until `stop`."""

    def __init__(self) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="patrol", daemon=True)
        self._helpers: dict[str, subprocess.Popen[bytes]] = {}
        self._jobs, self._checks = Overdue(), Overdue()
        self._collect_at = time.monotonic() + min(settings().collect_s, _SETTLED_S)

    def start(self) -> None:
        """Start; the first look is made at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and wait for what was started: it lets go of its job first."""
        self._end.set()
        self._thread.join()
        for helper in self._helpers.values():
            helper.send_signal(signal.SIGTERM)
        for helper in self._helpers.values():
            helper.wait()
        self._leave()
        health.unmark()

    def _run(self) -> None:
        while not drain.requested():
            self._round()
            if self._end.wait(settings().sweep_s):
                return

    def _round(self) -> None:
        """One look. Whatever goes wrong with it, the next one is made."""
        try:
            self._show()
            remove_leftovers(settings().data_dir.resolve() / "work")
            _settle()
            self._find_jobs()
            self._find_checks()
            self._send_webhooks()
            self._collect()
            health.mark()
        except OUTAGE as error:
            log.warning("no sweep for now: %s", reason(error))
        except Exception:
            log.exception("a sweep failed")

    def _show(self) -> None:
        shown = [{"name": device.name, "kind": device.kind} for device in devices(settings())]
        with db.session() as session:
            fleet.show(session, self._name, shown, health.patience_s())

    def _leave(self) -> None:
        """Where the database is away as well, the worker counts as gone by its silence."""
        with suppress(*OUTAGE), db.session() as session:
            fleet.leave(session, self._name)

    def _find_jobs(self) -> None:
        """Send a message for each free device; where messages do not help, start a process that needs none."""
        free = _count_free([device.name for device in devices(settings())])
        waiting = waiting_jobs(_FRESH_S)[:free] if free else []
        due, is_ignored = self._jobs.look(waiting)
        for job_id in due:
            queue.wake_job(job_id)
        if is_ignored:
            log.warning("messages do not come: jobs are taken from PostgreSQL without them")
            self._help("jobs")

    def _find_checks(self) -> None:
        free = _count_free(list(CHECK_SLOTS))
        waiting = waiting_checks(_FRESH_S)[:free] if free else []
        due, is_ignored = self._checks.look(waiting)
        for kind, id_ in due:
            queue.wake_check(kind, id_)
        if is_ignored:
            log.warning("messages do not come: checks are taken from PostgreSQL without them")
            self._help("checks")

    def _send_webhooks(self) -> None:
        with db.session() as session:
            is_needed = webhooks.any_enabled(session)
        if is_needed:
            self._help("webhooks")

    def _collect(self) -> None:
        """In a process of its own: it may take long, and a sweep must not wait for it."""
        if time.monotonic() >= self._collect_at:
            self._collect_at = time.monotonic() + settings().collect_s
            self._help("collect")

    def _help(self, what: str) -> None:
        running = self._helpers.get(what)
        if not drain.requested() and (running is None or running.poll() is not None):
            self._helpers[what] = subprocess.Popen(launch.command([sys.executable, "-m", "worker.once", what]))


Thing = TypeVar("Thing", bound=Hashable)


class Overdue:
    """Since when things wait here though there is room for them, and when each last had a message."""

    def __init__(self) -> None:
        self._first_seen: dict[Hashable, float] = {}
        self._last_sent: dict[Hashable, float] = {}

    def look(self, waiting: Sequence[Thing]) -> tuple[list[Thing], bool]:
        """Those of `waiting` that should get a message now, and whether messages do not help any more."""
        now, patience_s = time.monotonic(), settings().requeue_s
        self._first_seen = {each: self._first_seen.get(each, now) for each in waiting}
        self._last_sent = {each: at for each, at in self._last_sent.items() if each in self._first_seen}
        due = [each for each in waiting if now - self._last_sent.get(each, -patience_s) >= patience_s]
        self._last_sent |= dict.fromkeys(due, now)
        return due, any(now - at >= patience_s for at in self._first_seen.values())


def _count_free(names: list[str]) -> int:
    return sum(is_free(locks(settings()), name) for name in names)


def _settle() -> None:
    """Settle jobs whose lease has ended, and wake whoever can go on with them."""
    with db.session() as session:
        swept = jobs.sweep(session)
    for status, ids in swept.moved.items():
        log.warning("the leases of %s ended: now %s", ", ".join(ids), status.value)
    for job_id in swept.moved.get(JobStatus.QUEUED, []):
        queue.wake_job(job_id)

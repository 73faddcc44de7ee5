"""Take work until none is left: what a message starts, and what the patrol starts when messages do not come.

A message says only that there is something to look at. Which job is next, and whether a device is free for it, is
decided here: a device is a lock, a job is a row.
"""

import logging
import os
import secrets
import socket
from pathlib import Path

from core import checks, db, jobs
from core.checks import Kind
from core.jobs import Claim
from core.settings import Settings, settings
from worker import drain
from worker.checks import check
from worker.devices import devices, one_of, threads_of_job
from worker.outage import OUTAGE, reason
from worker.stage import Bench
from worker.supervise import supervise

log = logging.getLogger(__name__)

#: Checks at once: two, so that a small teacher does not wait behind a large data set.
CHECK_SLOTS = ("check-1", "check-2")


def run_jobs() -> None:
    """Run queued jobs on a free device until none is queued; nothing where all devices are busy."""
    config = settings()
    every = {device.name: device for device in devices(config)}
    while True:
        with one_of(locks(config), list(every)) as name:
            if name is None:
                return
            bench = Bench(every[name], threads_of_job(config, len(every)))
            while (claim := _claim(name)) is not None:
                supervise(claim, bench)
        # A message that came while the device was still ours found it busy, and was the only one for its job.
        if drain.requested() or not waiting_jobs():
            return


def run_checks(kind: Kind | None = None, id_: str | None = None) -> None:
    """Check the upload that is named, then all others that wait; nothing where enough checks run already."""
    with one_of(locks(settings()), list(CHECK_SLOTS)) as slot:
        if slot is None:
            return
        if kind is not None and id_ is not None:
            check(kind, id_)
        tried: set[str] = set()
        while not drain.requested() and (waiting := [each for each in waiting_checks() if each[1] not in tried]):
            tried.add(waiting[0][1])
            check(*waiting[0])


def locks(config: Settings) -> Path:
    """The folder of the locks that say who holds what on this machine."""
    return config.data_dir.resolve() / "locks"


def waiting_jobs(older_than_s: float = 0.0) -> list[str]:
    """Jobs that could run now and have been queued for so long."""
    with db.session() as session:
        return jobs.stale_queued(session, older_than_s)


def waiting_checks(older_than_s: float = 0.0) -> list[tuple[Kind, str]]:
    """Checks that nobody is at and that have waited for so long."""
    with db.session() as session:
        return checks.stale_checks(session, older_than_s)


def _claim(device: str) -> Claim | None:
    """The next job. Where the answer to the COMMIT was lost, its row says whether the claim was made."""
    if drain.requested():
        return None
    worker = f"{socket.gethostname()}:{os.getpid()}:{device}"
    token = secrets.token_hex(16)
    lease_s = settings().lease_s
    try:
        with db.session() as session:
            return jobs.claim(session, worker=worker, lease_s=lease_s, token=token)
    except OUTAGE as error:
        log.warning("no job was claimed, the database is away: %s", reason(error))
    with db.session() as session:
        attempt = jobs.attempt_of(session, token)
        if attempt is None or attempt.outcome is not None:
            return None
        return Claim(attempt.job_id, attempt.number, token, lease_s)

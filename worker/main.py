"""The worker's door: `python -m worker.main` runs Celery with one process a device and two for checks.

A task is handed an id and nothing else, and only says that there is something to look at (worker.loop). Neither this
process nor any that it forks imports torch: CUDA does not survive a fork, and a training process must be one that can
be killed.
"""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from celery.exceptions import SecurityWarning
from celery.signals import setup_logging, worker_process_init, worker_shutting_down

from core import db, queue
from core.checks import Kind
from core.errors import Infra
from core.logs import configure
from core.settings import Settings, settings
from worker import child, confine, drain
from worker.devices import CPU, devices, threads_of_job
from worker.intake_limits import Limits
from worker.loop import CHECK_SLOTS, run_checks, run_jobs
from worker.outage import OUTAGE, reason
from worker.patrol import Patrol
from worker.stage import ENGINE
from worker.warm import Spare, Spares

log = logging.getLogger(__name__)


@queue.app.task(name=queue.RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """There is a job to run; perhaps not this one."""
    log.debug("woken for %s", job_id)
    with drain.on_sigterm():
        _unless_away(run_jobs)


@queue.app.task(name=queue.CHECK)  # type: ignore[untyped-decorator]
def check(kind: Kind, id_: str) -> None:
    """There is an upload to check."""
    with drain.on_sigterm():
        _unless_away(lambda: run_checks(kind, id_))


def _unless_away(work: Any) -> None:
    try:
        work()
    except OUTAGE as error:
        log.warning("nothing is taken while the database is away: %s", reason(error))


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    """Celery leaves logging to whoever listens to this. That messages come and go says nothing that rows do not."""
    configure()
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _forget_connections(**_: Any) -> None:
    """A fork must not speak on the connections of its parent."""
    db.engine().dispose(close=False)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    """Let what runs write a checkpoint and give its job back; Celery waits for that."""
    drain.request()


def _tell_gaps() -> None:
    """How well this machine can confine what opens users' files."""
    try:
        gaps = confine.gaps()
    except Infra as error:
        log.error("no upload can be checked here: %s", error)  # noqa: TRY400 - the sentence says it all
        return
    for gap in gaps:
        log.warning("what opens uploads is confined, but for one thing (docs/security.md): %s", gap)
    if not gaps:
        log.info("what opens uploads is confined in every way")


def main() -> int:
    """Work until a signal comes."""
    configure()
    # It is about pickle, which no message of ours may be; in a container, root is who runs everything.
    warnings.simplefilter("ignore", SecurityWarning)
    found = devices(settings())
    log.info("devices: %s", ", ".join(device.name for device in found))
    _tell_gaps()
    patrol = Patrol()
    wanted = _spared(settings(), len(found)) if settings().spares else {}
    spares = Spares(wanted, str(settings().data_dir.resolve()))
    patrol.start()
    spares.start()
    try:
        queue.app.worker_main(
            [
                "--quiet",
                "worker",
                f"--concurrency={len(found) + len(CHECK_SLOTS)}",
                "--pool=prefork",
                "--without-gossip",
                "--without-mingle",
                f"--loglevel={settings().log_level}",
            ]
        )
    finally:
        spares.stop()
        patrol.stop()
    return 0


def _spared(config: Settings, num_devices: int) -> dict[str, Spare]:
    """The spares to keep, by the door that they wait behind."""
    nowhere = Path(os.devnull)
    threads = threads_of_job(config, num_devices)
    return {
        ENGINE: Spare("worker.engine.preload", child.environment(CPU, threads, nowhere)),
        confine.MODULE: Spare("worker.intake.preload", confine.environment(nowhere, Limits().threads)),
    }


if __name__ == "__main__":
    sys.exit(main())

"""The door: `python -m worker.engine.run WORKDIR` does what WORKDIR/job.json orders. Files in, files out.

The supervisor starts it as a child; a person can start it by hand and watch a bar. It ends with one of
models.work.Exit: DONE, FAILED with error.json, or STOPPED after SIGTERM or Ctrl-C, when checkpoints/ and out/ hold what
there is so far. SIGUSR1 makes it write a checkpoint.
"""

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from core.errors import Internal, JobFailure
from models.work import Exit, WorkOrder
from worker.engine.heap import keep_freed
from worker.engine.progress import Progress
from worker.engine.stop import Stop, Stopped

log = logging.getLogger(__name__)

_ERROR = "error.json"


def main(workdir: Path) -> Exit:
    """Does the order in the folder."""
    keep_freed()
    stop = Stop()
    # Before torch is imported, which takes seconds: a signal must never find the default action, which is to die.
    stop.listen()
    (workdir / _ERROR).unlink(missing_ok=True)
    progress = Progress(workdir / "events.jsonl")
    try:
        return _attempt(workdir, progress, stop)
    finally:
        # On a full disk it tries once more to write its last line; the exit code must be heard all the same.
        with suppress(OSError):
            progress.close()


def _attempt(workdir: Path, progress: Progress, stop: Stop) -> Exit:
    order: WorkOrder | None = None
    try:
        order = WorkOrder.model_validate_json((workdir / "job.json").read_bytes())
        stop.limit(order.max_seconds)
        from worker.engine.job import run_order

        stop.check()
        run_order(order, workdir, progress, stop)
    except Stopped:
        return Exit.STOPPED
    except ValidationError as error:
        return _failed(workdir, Internal(f"job.json is not an order: {error}", code="order"))
    except Exception as error:
        from worker.engine.failures import failure

        if not isinstance(error, JobFailure):
            log.exception("the engine failed")
        return _failed(workdir, failure(error, order))
    return Exit.DONE


def _failed(workdir: Path, error: JobFailure) -> Exit:
    log.error("%s: %s", error.code, error.detail)
    try:
        (workdir / _ERROR).write_text(json.dumps(error.as_dict(), indent=2) + "\n")
    except OSError:
        log.exception("error.json could not be written")
    return Exit.FAILED


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m worker.engine.run WORKDIR")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main(Path(sys.argv[1])))

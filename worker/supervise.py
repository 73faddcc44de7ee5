"""One attempt at one job, start to end, without torch: stage, run the child, watch it, publish, finish.

Every way out writes the attempt's end once, guarded by its lease. A lost lease writes nothing: somebody else has the
job by then.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Infra, Internal, JobFailure
from core.jobs import Claim, LeaseLost
from core.logs import bound
from core.settings import Settings, settings
from models.status import Phase
from models.work import Exit
from worker import verdict, warm
from worker.book import Book
from worker.checkpoints import Keeper, forget_all
from worker.child import Child, Ended, Running, engine_command, environment
from worker.ending import Ending
from worker.folders import work_folder
from worker.limit import Limit
from worker.memory import Memory
from worker.outage import OUTAGE, patiently
from worker.publish import report, store
from worker.stage import Bench, Inputs, read_inputs, stage
from worker.watch import Halt, Halted, Watch, watching

log = logging.getLogger(__name__)

_STORE_PATIENCE_S = 3600.0


@dataclass(frozen=True)
class _Attempt:
    """What the steps of one attempt share."""

    claim: Claim
    bench: Bench
    workdir: Path
    settings: Settings
    watch: Watch
    book: Book
    keeper: Keeper
    ending: Ending


def supervise(claim: Claim, bench: Bench) -> None:
    """Run a claimed job to whatever end it comes to."""
    config = settings()
    root = config.data_dir.resolve() / "work"
    with (
        bound(job=claim.job_id, attempt=claim.attempt),
        work_folder(root, f"{claim.job_id}-{claim.attempt}") as workdir,
        watching(claim, config) as watch,
    ):
        log.info("started on %s", bench.device.name)
        book = Book(claim, workdir, shortest_wait_s=4 * config.watch_s)
        keeper = Keeper(claim, workdir)
        ending = Ending(claim, watch.check_lease, book.log_tail)
        try:
            _run(_Attempt(claim, bench, workdir, config, watch, book, keeper, ending))
        except LeaseLost:
            log.warning("the lease is lost: this attempt ends without a word")
        finally:
            keeper.close()


def _run(attempt: _Attempt) -> None:
    """Every way through, and every failure of it turned into the attempt's end."""
    try:
        inputs = _stage(attempt)
        _train(attempt, inputs)
    except Halted as halted:
        attempt.ending.stop(halted.halt)
    except JobFailure as failure:
        attempt.ending.fail(failure, None)
    except LeaseLost:
        raise
    except Exception:
        log.exception("a fault of ours")
        message = "The worker that ran the job has a fault; its log says more. Please report it."
        attempt.ending.fail(Internal(message, code="supervisor_fault"), None)


def _stage(attempt: _Attempt) -> Inputs:
    """Make the work folder ready, with what an earlier attempt has reached."""
    attempt.book.note("phase", phase=Phase.STAGING, at=round(time.time(), 3))
    attempt.book.send()
    check = attempt.watch.check

    def once() -> Inputs:
        inputs = read_inputs(attempt.claim)
        stage(attempt.claim, inputs, attempt.workdir, attempt.bench, check)
        if inputs.checkpoint is not None:
            _resume(attempt, inputs.checkpoint)
        return inputs

    return patiently("staging", once, check)


def _resume(attempt: _Attempt, checkpoint: dict[str, Any]) -> None:
    try:
        attempt.keeper.start_from(checkpoint, attempt.watch.check)
    except Infra as failure:
        message = f"The last checkpoint cannot be used, so the job starts anew: {failure.detail}"
        attempt.book.note("notice", code="checkpoint_unusable", message=message)


def _train(attempt: _Attempt, inputs: Inputs) -> None:
    """Run the child to its end and finish the attempt accordingly."""
    memory = Memory.now()
    asked: Halt | None = None
    failure: JobFailure | None = None
    child = _start(attempt.bench, attempt.workdir)
    try:
        asked = _mind(attempt, child, inputs)
    except JobFailure as forced:
        failure = forced
    finally:
        ended = child.kill()
    _carry_all(attempt)
    if failure is None and ended.exit_code == Exit.DONE:
        _publish(attempt)
    elif failure is None and asked is not None and (asked is Halt.CANCELLED or ended.exit_code != Exit.FAILED):
        _stop(attempt, asked, ended)
    else:
        failure = failure or _failure(attempt, inputs, ended, memory)
        attempt.ending.fail(verdict.repeated(failure, inputs.previous_error), ended.exit_code)


def _start(bench: Bench, workdir: Path) -> Running:
    """The engine's child, out of the spare where there is one; its output is appended to log.txt."""
    env = environment(bench.device, bench.threads, workdir)
    with (workdir / "log.txt").open("ab") as log:
        spared = warm.fork(bench.engine, [str(workdir)], cwd=workdir, env=env, log=log.fileno())
        return spared or Child(engine_command(bench.engine, workdir), cwd=workdir, env=env, log=log.fileno())


def _failure(attempt: _Attempt, inputs: Inputs, ended: Ended, memory: Memory) -> JobFailure:
    return verdict.failure_of(ended, attempt.workdir, attempt.book.place, inputs.spec.train.batch_size, memory)


def _mind(attempt: _Attempt, child: Running, inputs: Inputs) -> Halt | None:
    """Watch the child until it ends; what it was asked to end as. Raises the reason where it has to be ended."""
    limit = Limit(attempt.settings, inputs.spec.limits.max_seconds - inputs.ran_s)
    asked: Halt | None = None
    while child.poll() is None:
        _carry(attempt)
        halt = attempt.watch.halt
        if halt is not None and halt is not asked:
            child.ask_to_stop()
            limit.asked(halt)
            asked = halt
        if limit.grace_is_over():
            child.kill()
        else:
            limit.check(attempt.book)
            time.sleep(attempt.settings.watch_s)
    return asked


def _carry(attempt: _Attempt) -> bool:
    """Take what the child has written to where it is safe. False where the database is away."""
    record = attempt.keeper.look()
    if record is not None:
        attempt.book.checkpoint(record)
    is_sent = attempt.book.send()
    if is_sent:
        attempt.keeper.forget_older()
    return is_sent


def _carry_all(attempt: _Attempt) -> None:
    """The same for all that is left, however long the database is away."""
    attempt.book.send(is_last=True)  # the engine's last line says which step its last checkpoint is of
    record = attempt.keeper.finish()
    if record is not None:
        attempt.book.checkpoint(record)
    _send_all(attempt)


def _send_all(attempt: _Attempt) -> None:
    while not attempt.book.send_all():
        attempt.watch.check_lease()
        time.sleep(attempt.settings.watch_s)


def _stop(attempt: _Attempt, asked: Halt, ended: Ended) -> None:
    """The child was asked to stop; what it has so far is handed out where the user asked for that."""
    out = attempt.workdir / "out"
    if asked is Halt.CANCELLED and ended.exit_code == Exit.STOPPED:
        try:
            attempt.ending.stop(asked, report(out), store(attempt.claim, out))
        except (*OUTAGE, OSError) as error:
            log.warning("the student so far is not kept: %s", error)
        else:
            return
    attempt.ending.stop(asked)


def _publish(attempt: _Attempt) -> None:
    """Hand out the student. A store that is away is waited for: nothing is trained again for it."""
    attempt.book.note("phase", phase=Phase.PUBLISHING)
    attempt.book.send()
    out = attempt.workdir / "out"
    result = report(out)
    if result is None:
        raise Internal("The training process ended well and left no report. Please report it.", code="no_report")
    until = time.monotonic() + _STORE_PATIENCE_S

    def check() -> None:
        attempt.watch.check()
        if time.monotonic() > until:
            raise Infra("The store took no files for an hour. Look at its disk and its address.", code="store_away")

    artifacts = patiently("publishing", lambda: store(attempt.claim, out), check, over=(*OUTAGE, OSError))
    _send_all(attempt)
    attempt.ending.succeed(result, artifacts)
    forget_all(attempt.claim.job_id)

"""What must hold after each operation, whatever came before: I1 to I4, I6 and I8 of docs/reliability.md.

They look at what the rows say, and not at how the model came to it.
"""

from models.status import LEASED, MOVES, TERMINAL, Desired, JobStatus
from tests.simulator.model import LOST, Claim, Job, Operation, Result, Store

_WRITES = frozenset({"heartbeat", "record", "succeed", "fail", "stop"})


class Broken(AssertionError):
    """An invariant does not hold."""


def check_step(before: Store, operation: Operation, after: Store, result: Result) -> None:
    """Raise Broken where the operation did what none may do."""
    if operation[0] in _WRITES:
        _check_fence(before, operation[1], after, result)
    if operation[0] == "claim" and operation[2] is None and isinstance(result, tuple):
        _check_order(before, result[0])
    for old, new in zip(before.jobs, after.jobs, strict=True):
        if old is not new:
            _check_change(old, new)


def check_end(store: Store) -> None:
    """No job is lost (I1): once the faults are over, each has ended."""
    for job in store.jobs:
        _must(job.status in TERMINAL, "I1: the job never ends", job)


def _check_fence(before: Store, claim: Claim, after: Store, result: Result) -> None:
    """I4: whoever does not own the newest attempt changes nothing."""
    job = before.jobs[claim.job]
    attempt = job.attempts[claim.attempt - 1]
    owns = attempt.outcome is None and claim.attempt == len(job.attempts) and job.status in LEASED
    _must(owns == (result != LOST), "I4: the fence holds for owners alone", job)
    _must(owns or before.jobs == after.jobs, "I4: a zombie wrote", job)


def _check_order(before: Store, taken: int) -> None:
    """Nobody is passed over by a younger job of the same owner, of no higher priority."""
    chosen = before.jobs[taken]
    for other in before.jobs:
        waits = other.status is JobStatus.QUEUED and other.queued_at <= before.now and other.owner == chosen.owner
        passed = other.priority >= chosen.priority and other.queued_at < chosen.queued_at
        _must(not (waits and passed), "an older job of the owner was passed over", other)


def _check_change(old: Job, new: Job) -> None:
    _must(old.status not in TERMINAL, "I3: a job that had ended changed", new)
    _must(new.status is old.status or new.status in MOVES[old.status], f"no move from {old.status}", new)
    _must(new.events[: len(old.events)] == old.events, "I8: an event changed", new)
    _must(new.version > old.version or new.events == old.events, "an event without a new version", new)
    _must(new.version <= old.version + 1, "a version was left out", new)
    _must(new.attempt == len(new.attempts), "the attempts are not numbered 1..n", new)
    _must(new.attempt - new.forgiven <= new.max_attempts, "more attempts than are allowed", new)
    _must(new.ran >= old.ran, "time that was run is taken back", new)
    for was, now in zip(old.attempts, new.attempts, strict=False):
        _must(was.outcome is None or was == now, "an attempt ended twice", new)
    _check_lease(new)
    _check_published(new)


def _check_lease(job: Job) -> None:
    """One attempt is open exactly while the job is leased, and its token is the lease's."""
    open_ = [attempt.token for attempt in job.attempts if attempt.outcome is None]
    _must(open_ == ([job.token] if job.status in LEASED else []), "the lease and the attempts disagree", job)
    _must((job.lease_ends_at is None) == (job.token is None), "half a lease", job)


def _check_published(job: Job) -> None:
    """I2: artifacts are those of one attempt, the last, and are visible once the job has ended."""
    _must(len(set(job.published)) <= 1, "I2: artifacts of two attempts", job)
    _must(not job.published or job.status in TERMINAL, "I2: artifacts of a job that goes on", job)
    _must(not job.published or job.published == (job.attempt,), "I2: artifacts of an older attempt", job)
    if job.status.value == "succeeded":
        _must(job.published != () and job.attempts[-1].outcome == "succeeded", "I2: a success without artifacts", job)
    if job.status.value == "cancelled":
        _must(job.desired is Desired.CANCEL, "cancelled, and nobody wished it", job)


def _must(holds: bool, what: str, job: Job) -> None:
    if not holds:
        raise Broken(f"{what}: {job}")

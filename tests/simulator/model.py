"""The state machine of core.jobs as pure functions over rows that are tuples: a store and an operation give a store.

It is written from docs/jobs.md and not from the code, so that the two can be held against each other. Time is in units
that are a minute in the replay; a lease ends between two whole units, so that no comparison hangs on a tie.
"""

from typing import Any, Literal, NamedTuple

from models.status import LEASED, Desired, JobStatus

LEASE = 2.5
RETRY_WAIT = 0.5
#: A job that has waited for so long counts as one priority higher; the highest is 2.
PRIORITY_STEP = 3.5
HIGHEST = 2
#: Time passes with each operation, as the database's clock does, so that the queue has an order.
TICK = 1e-6

Operation = tuple[Any, ...]
"""("claim", token, job or None), ("sweep",), ("shift", units), ("cancel" | "pause" | "resume", job), and writes of an
attempt: ("heartbeat" | "record" | "succeed" | "fail" | "stop", claim, ...)."""

Result = str | tuple[int, int, str] | Desired | None
LOST = "lease lost"
CONFLICT = "conflict"


class Attempt(NamedTuple):
    """A row of `attempts`."""

    token: str
    started_at: float
    outcome: str | None = None


class Job(NamedTuple):
    """A row of `jobs`, with its events, attempts and the attempts whose artifacts are visible."""

    id: int
    max_attempts: int
    allowed: float
    queued_at: float
    status: JobStatus = JobStatus.QUEUED
    desired: Desired = Desired.RUN
    attempt: int = 0
    forgiven: int = 0
    token: str | None = None
    lease_ends_at: float | None = None
    ran: float = 0.0
    version: int = 1
    events: tuple[str, ...] = ("queued",)
    attempts: tuple[Attempt, ...] = ()
    published: tuple[int, ...] = ()
    priority: int = 1
    owner: str = "a"
    claimed_at: float = float("-inf")


class Store(NamedTuple):
    """The database: its clock and its jobs, in the order of their ids."""

    now: float
    jobs: tuple[Job, ...]


class Claim(NamedTuple):
    """The right to run a job, as its worker remembers it."""

    job: int
    attempt: int
    token: str


def step(store: Store, operation: Operation) -> tuple[Store, Result]:
    """The store after the operation, and what its caller is told."""
    store = Store(store.now + TICK, store.jobs)
    name = operation[0]
    if name == "shift":
        return Store(store.now + operation[1], store.jobs), None
    if name == "claim":
        return _claim(store, *operation[1:])
    if name == "sweep":
        return _sweep(store), None
    if name in _WISHES:
        job, result = _WISHES[name](store.jobs[operation[1]], store.now)
        return _with(store, job), result
    claim: Claim = operation[1]
    job = store.jobs[claim.job]
    if job.status not in LEASED or job.attempt != claim.attempt or job.token != claim.token:
        return store, LOST
    written, result = _WRITES[name](job, store.now, *operation[2:])
    return _with(store, written), result


def _with(store: Store, job: Job) -> Store:
    return Store(store.now, (*store.jobs[: job.id], job, *store.jobs[job.id + 1 :]))


def _claim(store: Store, token: str, wanted: int | None) -> tuple[Store, Result]:
    waiting = [
        job
        for job in store.jobs
        if job.status is JobStatus.QUEUED and job.queued_at <= store.now and wanted in {None, job.id}
    ]
    if not waiting:
        return store, None
    job = min(waiting, key=lambda job: _order(store, job))
    number = job.attempt + 1
    claimed = _changed(
        job,
        "started",
        status=JobStatus.RUNNING,
        attempt=number,
        token=token,
        lease_ends_at=store.now + LEASE,
        claimed_at=store.now,
        attempts=(*job.attempts, Attempt(token, store.now)),
    )
    return _with(store, claimed), (job.id, number, token)


def _order(store: Store, job: Job) -> tuple[float, ...]:
    """Smaller comes first: the priority with what the wait adds, whose turn it is, the oldest."""
    rank = min(HIGHEST, job.priority + (store.now - job.queued_at) // PRIORITY_STEP)
    own = [other for other in store.jobs if other.owner == job.owner]
    running = sum(other.status in LEASED for other in own)
    return (-rank, running, max(other.claimed_at for other in own), job.queued_at, job.id)


# --- what the owner of a lease writes ---


def _heartbeat(job: Job, now: float) -> tuple[Job, Result]:
    wish = {JobStatus.CANCELLING: Desired.CANCEL, JobStatus.PAUSING: Desired.PAUSE}.get(job.status, Desired.RUN)
    return job._replace(lease_ends_at=now + LEASE), wish


def _record(job: Job, _now: float, lines: int) -> tuple[Job, Result]:
    return job._replace(version=job.version + 1, events=job.events + ("notice",) * lines), None


def _succeed(job: Job, now: float) -> tuple[Job, Result]:
    job = job._replace(published=(job.attempt,))
    return _finished(_ended(job, "succeeded", now), JobStatus.SUCCEEDED), None


def _fail(job: Job, now: float, is_infra: bool) -> tuple[Job, Result]:
    ended = _ended(job, "failed", now)
    if not is_infra:
        return _finished(ended, JobStatus.FAILED), None
    used = job.attempt - job.forgiven
    return _again(ended, queued_at=now + RETRY_WAIT * 2 ** (used - 1)), None


def _stop(job: Job, now: float, outcome: Literal["cancelled", "paused", "drained"]) -> tuple[Job, Result]:
    ended = _ended(job, outcome, now)
    if job.status is JobStatus.CANCELLING:
        return _finished(ended._replace(published=(job.attempt,)), JobStatus.CANCELLED), None
    return _put_back(ended, forgiven=job.forgiven + 1), None


def _ended(job: Job, outcome: str, end: float) -> Job:
    """The attempt is over; the time it ran is never negative, however the clock was set meanwhile."""
    last = job.attempts[-1]
    ran = max(0.0, end - last.started_at)
    return job._replace(attempts=(*job.attempts[:-1], last._replace(outcome=outcome)), ran=job.ran + ran)


def _finished(job: Job, status: JobStatus) -> Job:
    return _changed(job, status.value, status=status, token=None, lease_ends_at=None)


def _again(job: Job, **values: Any) -> Job:
    if job.status is JobStatus.CANCELLING:
        return _finished(job, JobStatus.CANCELLED)
    if job.attempt - job.forgiven >= job.max_attempts:
        return _finished(job, JobStatus.FAILED)
    return _put_back(job, **values)


def _put_back(job: Job, **values: Any) -> Job:
    if job.ran >= job.allowed:
        return _finished(job._replace(**values), JobStatus.FAILED)
    rests = job.desired is Desired.PAUSE
    status, event = (JobStatus.PAUSED, "paused") if rests else (JobStatus.QUEUED, "requeued")
    return _changed(job, event, status=status, token=None, lease_ends_at=None, **values)


def _changed(job: Job, event: str, **values: Any) -> Job:
    return job._replace(version=job.version + 1, events=(*job.events, event), **values)


# --- the user ---


def _cancel(job: Job, _now: float) -> tuple[Job, Result]:
    if job.status in {JobStatus.CANCELLING, JobStatus.CANCELLED}:
        return job, None
    if job.status in {JobStatus.QUEUED, JobStatus.PAUSED}:
        return _finished(job._replace(desired=Desired.CANCEL), JobStatus.CANCELLED), None
    if job.status in {JobStatus.RUNNING, JobStatus.PAUSING}:
        return _changed(job, "cancelling", status=JobStatus.CANCELLING, desired=Desired.CANCEL), None
    return job, CONFLICT


def _pause(job: Job, _now: float) -> tuple[Job, Result]:
    if job.status is JobStatus.PAUSED:
        return job, None
    if job.status is JobStatus.PAUSING:
        return _wished(job, Desired.PAUSE), None
    if job.status is JobStatus.QUEUED:
        return _changed(job, "paused", status=JobStatus.PAUSED, desired=Desired.PAUSE), None
    if job.status is JobStatus.RUNNING:
        return _changed(job, "pausing", status=JobStatus.PAUSING, desired=Desired.PAUSE), None
    return job, CONFLICT


def _resume(job: Job, now: float) -> tuple[Job, Result]:
    if job.status in {JobStatus.QUEUED, JobStatus.RUNNING}:
        return job, None
    if job.status is JobStatus.PAUSING:
        return _wished(job, Desired.RUN), None
    if job.status is JobStatus.PAUSED:
        return _changed(job, "queued", status=JobStatus.QUEUED, desired=Desired.RUN, queued_at=now), None
    return job, CONFLICT


def _wished(job: Job, desired: Desired) -> Job:
    return job if job.desired is desired else job._replace(desired=desired, version=job.version + 1)


# --- the reconciler ---


def _sweep(store: Store) -> Store:
    for job in store.jobs:
        if job.status in LEASED and job.lease_ends_at is not None and job.lease_ends_at < store.now:
            store = _with(store, _again(_ended(job, "lost", job.lease_ends_at)))
    return store


_WISHES: dict[str, Any] = {"cancel": _cancel, "pause": _pause, "resume": _resume}
_WRITES: dict[str, Any] = {
    "heartbeat": _heartbeat,
    "record": _record,
    "succeed": _succeed,
    "fail": _fail,
    "stop": _stop,
}

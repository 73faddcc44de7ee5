"""A hundred thousand schedules of faults against the model: no invariant breaks, and every job ends."""

import pytest

from models.status import LEASED, TERMINAL, Desired, JobStatus
from tests.simulator.invariants import Broken, check_step
from tests.simulator.model import Attempt, Claim, Job, Store
from tests.simulator.world import World

SHARDS, EACH = 10, 10_000


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_schedule_breaks_an_invariant(shard: int) -> None:
    ended: dict[JobStatus, int] = dict.fromkeys(TERMINAL, 0)
    for seed in range(shard * EACH, (shard + 1) * EACH):
        try:
            store = World(seed).run()
        except Broken as broken:
            raise AssertionError(f"World({seed}): {broken}") from broken
        for job in store.jobs:
            ended[job.status] += 1
    assert min(ended.values()) > EACH // 50, f"the schedules do not reach every end: {ended}"


def test_the_schedules_reach_what_they_are_for() -> None:
    """Every operation, every refusal and every state occurs, or the hundred thousand prove nothing."""
    seen: set[object] = set()
    for seed in range(300):
        world = World(seed)
        world.run()
        for operation, result, store in world.trace:
            seen |= {operation[0], result if isinstance(result, str) else None}
            seen |= {job.status for job in store.jobs}
            seen |= {attempt.outcome for job in store.jobs for attempt in job.attempts}
    assert {"claim", "heartbeat", "record", "succeed", "fail", "stop", "cancel", "pause", "resume", "sweep"} <= seen
    assert {"shift", "lease lost", "conflict", "lost", "drained", "paused", "cancelled", "failed", *JobStatus} <= seen


JOB = Job(0, 3, 10.0, 0.0)
RUNNING = JOB._replace(
    status=JobStatus.RUNNING, attempt=1, token="a", lease_ends_at=1.0, attempts=(Attempt("a", 0.0),), version=2
)
DONE = RUNNING._replace(
    status=JobStatus.SUCCEEDED,
    token=None,
    lease_ends_at=None,
    attempts=(Attempt("a", 0.0, "succeeded"),),
    published=(1,),
    events=("queued", "succeeded"),
    version=3,
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (DONE, DONE._replace(version=4), "I3"),
        (JOB, DONE, "no move"),
        (RUNNING, DONE._replace(published=(1, 2)), "I2"),
        (RUNNING, DONE._replace(published=()), "I2"),
        (RUNNING, RUNNING._replace(events=("other",), version=3), "I8"),
        (RUNNING, RUNNING._replace(token="b"), "disagree"),
        (RUNNING, RUNNING._replace(ran=-1.0), "taken back"),
        (RUNNING, DONE._replace(version=5), "left out"),
    ],
)
def test_the_invariants_can_break(old: Job, new: Job, says: str) -> None:
    with pytest.raises(Broken, match=says):
        check_step(Store(0, (old,)), ("sweep",), Store(1, (new,)), None)


def test_a_zombie_that_writes_is_noticed() -> None:
    assert RUNNING.status in LEASED
    taken = RUNNING._replace(
        attempt=2, token="b", attempts=(Attempt("a", 0.0, "lost"), Attempt("b", 1.0)), desired=Desired.RUN
    )
    zombie = Claim(0, 1, "a")
    written = taken._replace(events=("queued", "notice"), version=3)
    with pytest.raises(Broken, match="I4"):
        check_step(Store(0, (taken,)), ("record", zombie, 1), Store(1, (written,)), None)

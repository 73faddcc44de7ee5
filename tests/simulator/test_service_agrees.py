"""The schedules of the model played against core.jobs on a real PostgreSQL: they agree after every single operation.

The database's clock cannot be set, so a jump of the clock moves every time that is stored the other way.
"""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, jobs
from core.errors import Conflict, Infra, UserConfig
from core.jobs import NewArtifact
from core.settings import settings
from models.spec.job import PRIORITIES, JobSpec
from models.status import Desired
from models.tables import Dataset, Job, Teacher, Upload
from tests.simulator import model
from tests.simulator.model import CONFLICT, LEASE, LOST, Operation, Store
from tests.simulator.world import World

UNIT_S = 60.0
TRACES, STEPS, FIRST = 200, 12, 500_000


@pytest.fixture
def inputs(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job refers to; and a server that is taken for one that has run for long."""
    monkeypatch.setenv("DISTILLERY_HEARTBEAT_S", "0.0001")
    monkeypatch.setenv("DISTILLERY_PRIORITY_STEP_S", str(model.PRIORITY_STEP * UNIT_S))
    monkeypatch.setenv("DISTILLERY_RETRY_WAIT_S", str(model.RETRY_WAIT * UNIT_S))
    settings.cache_clear()
    with db.session() as session:
        session.add(Upload(id="upl_A", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        session.add(Teacher(id="tch_A", name="a", upload_id="upl_A", spec={}))
        session.add(Dataset(id="dst_A", name="a", upload_id="upl_A", spec={}))


def test_model_and_service_agree_at_each_step(inputs: None) -> None:
    operations = 0
    for seed in range(FIRST, FIRST + TRACES):
        world = World(seed, steps=STEPS)
        service = Service(world.store)
        world.run()
        for number, (operation, result, store) in enumerate(world.trace):
            where = f"World({seed}, steps={STEPS}), operation {number}: {operation}"
            assert service.do(operation) == result, where
            assert service.rows() == [_row(expected) for expected in store.jobs], where
        operations += len(world.trace)
    assert operations > 10 * TRACES


class Service:
    """core.jobs behind the model's operations."""

    def __init__(self, store: Store) -> None:
        with db.session() as session:
            # What an earlier schedule left waiting is none of this one's.
            session.execute(text("DELETE FROM jobs"))
        self.ids = [_submitted(job) for job in store.jobs]

    def do(self, operation: Operation) -> Any:
        """The operation's result in the model's words."""
        name, *arguments = operation
        try:
            with db.session() as session:
                return self._operations[name](self, session, *arguments)
        except jobs.LeaseLost:
            return LOST
        except Conflict:
            return CONFLICT

    def rows(self) -> list[tuple[Any, ...]]:
        """All that the model knows of each job, in one look."""
        with db.session() as session:
            found = {row.id: row for row in session.execute(text(_ROWS))}
        return [_told(found[id_]) for id_ in self.ids]

    def _claim(self, session: Session, token: str, wanted: int | None) -> tuple[int, int, str] | None:
        named = None if wanted is None else self.ids[wanted]
        # Of all schedules together, tokens are unique.
        own = f"{self.ids[0]}/{token}"
        made = jobs.claim(session, worker="w", lease_s=LEASE * UNIT_S, job_id=named, token=own)
        return None if made is None else (self.ids.index(made.job_id), made.attempt, token)

    def _shift(self, session: Session, units: float) -> None:
        by = {"s": units * UNIT_S}
        session.execute(text(_SHIFT_JOBS), by)
        session.execute(text(_SHIFT_ATTEMPTS), by)
        session.execute(text(_SHIFT_TURNS), by)

    def _sweep(self, session: Session) -> None:
        assert jobs.sweep(session).leader

    def _wish(self, session: Session, request: Callable[[Session, str], Job], number: int) -> None:
        request(session, self.ids[number])

    def _heartbeat(self, session: Session, claim: model.Claim) -> Desired:
        return jobs.heartbeat(session, self._real(claim))

    def _record(self, session: Session, claim: model.Claim, lines: int) -> None:
        jobs.record(session, self._real(claim), [("notice", {})] * lines)

    def _succeed(self, session: Session, claim: model.Claim) -> None:
        jobs.succeed(session, self._real(claim), result={}, artifacts=[_artifact(claim)], log="")

    def _fail(self, session: Session, claim: model.Claim, is_infra: bool) -> None:
        error = Infra("gone") if is_infra else UserConfig("no")
        jobs.fail(session, self._real(claim), error, exit_code=1, log="")

    def _stop(self, session: Session, claim: model.Claim, outcome: Literal["cancelled", "paused", "drained"]) -> None:
        jobs.stop(session, self._real(claim), outcome=outcome, artifacts=[_artifact(claim)], log="")

    def _real(self, claim: model.Claim) -> jobs.Claim:
        return jobs.Claim(self.ids[claim.job], claim.attempt, f"{self.ids[0]}/{claim.token}", LEASE * UNIT_S)

    _operations: dict[str, Callable[..., Any]] = {  # noqa: RUF012 - a table
        "claim": _claim,
        "shift": _shift,
        "sweep": _sweep,
        "cancel": lambda self, session, job: self._wish(session, jobs.request_cancel, job),
        "pause": lambda self, session, job: self._wish(session, jobs.request_pause, job),
        "resume": lambda self, session, job: self._wish(session, jobs.request_resume, job),
        "heartbeat": _heartbeat,
        "record": _record,
        "succeed": _succeed,
        "fail": _fail,
        "stop": _stop,
    }


_SHIFT_JOBS = """
    UPDATE jobs SET queued_at = queued_at - make_interval(secs => :s),
                    lease_expires_at = lease_expires_at - make_interval(secs => :s)
    WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"""
_SHIFT_ATTEMPTS = "UPDATE attempts SET started_at = started_at - make_interval(secs => :s) WHERE outcome IS NULL"


# Turns are compared between all jobs, those that have ended included.
_SHIFT_TURNS = "UPDATE jobs SET claimed_at = claimed_at - make_interval(secs => :s)"


_ROWS = """
    SELECT jobs.*,
           ARRAY(SELECT seq FROM events WHERE job_id = jobs.id ORDER BY seq) AS numbers,
           ARRAY(SELECT type FROM events WHERE job_id = jobs.id ORDER BY seq) AS events,
           ARRAY(SELECT lease_token FROM attempts WHERE job_id = jobs.id ORDER BY number) AS tokens,
           ARRAY(SELECT outcome FROM attempts WHERE job_id = jobs.id ORDER BY number) AS outcomes,
           ARRAY(SELECT artifacts.attempt FROM artifacts WHERE job_id = jobs.id) AS published
    FROM jobs"""


def _told(row: Any) -> tuple[Any, ...]:
    assert row.numbers == list(range(1, row.event_seq + 1))
    return (
        row.status,
        row.desired,
        row.attempt,
        row.attempts_forgiven,
        row.lease_token and _bare(row.lease_token),
        row.lease_expires_at is not None,
        row.version,
        tuple(row.events),
        tuple((_bare(token), outcome) for token, outcome in zip(row.tokens, row.outcomes, strict=True)),
        tuple(row.published),
        round(row.ran_s / UNIT_S, 1),
    )


def _row(job: model.Job) -> tuple[Any, ...]:
    """The same of the model."""
    return (
        job.status,
        job.desired,
        job.attempt,
        job.forgiven,
        job.token,
        job.lease_ends_at is not None,
        job.version,
        job.events,
        tuple((attempt.token, attempt.outcome) for attempt in job.attempts),
        job.published,
        round(job.ran, 1),
    )


def _submitted(job: model.Job) -> str:
    """In a transaction of its own: the queue goes by time, and ids are random."""
    with db.session() as session:
        return jobs.submit(session, _spec(job), owner=job.owner).id


def _bare(token: str) -> str:
    return token.partition("/")[2]


def _artifact(claim: model.Claim) -> NewArtifact:
    return NewArtifact("student.pth", f"jobs/{claim.job}/{claim.attempt}", 1, "0" * 64, "application/octet-stream")


def _spec(job: model.Job) -> JobSpec:
    told = {
        "teacher": "tch_A",
        "dataset": "dst_A",
        "student": {"type": "mlp", "hidden": [8]},
        "loss": {"type": "kd", "T": 4},
        "priority": PRIORITIES[job.priority],
        "limits": {"max_attempts": job.max_attempts, "max_seconds": int(job.allowed * UNIT_S)},
    }
    return JobSpec.model_validate(told)

"""Which job is next: priorities, owners in turn, ageing, the limit of an owner; and that no queue makes it slow."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, text, update

from core import db, jobs
from core.settings import settings
from models.spec.job import PRIORITIES, JobSpec
from models.tables import Job
from tests.core.conftest import Submit, spec


def make(priority: str = "normal", owner: str = "a", waited_s: float = 0.0) -> str:
    with db.session() as session:
        told = JobSpec.model_validate({**spec().model_dump(mode="json"), "priority": priority})
        job_id = jobs.submit(session, told, owner=owner).id
        queued_at = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, waited_s)
        session.execute(update(Job).where(Job.id == job_id).values(queued_at=queued_at))
    return job_id


def take() -> str | None:
    with db.session() as session:
        made = jobs.claim(session, worker="w", lease_s=60)
    return None if made is None else made.job_id


def end(job_id: str) -> None:
    """It runs no more."""
    with db.session() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status="succeeded"))


def test_higher_priorities_come_first_then_the_oldest(submit: Submit) -> None:
    low, late, early, high = make("low", waited_s=90), make(), make(waited_s=60), make("high")
    assert [take() for _ in range(5)] == [high, early, late, low, None]


def test_a_job_that_has_waited_counts_as_one_priority_higher(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_PRIORITY_STEP_S", "100")
    settings.cache_clear()
    aged, normal, high = make("low", waited_s=150), make(waited_s=50), make("high")
    oldest = make("low", waited_s=250)
    assert [take() for _ in range(4)] == [oldest, high, aged, normal]


def test_a_low_job_is_not_starved_by_a_stream_of_high_ones(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_PRIORITY_STEP_S", "100")
    settings.cache_clear()
    low = make("low")
    rounds = 0
    for rounds in range(10):  # noqa: B007 - read after the loop
        make("high")
        with db.session() as session:
            session.execute(text("UPDATE jobs SET queued_at = queued_at - interval '40 s' WHERE status = 'queued'"))
        make("high")
        if take() == low:
            break
    assert 40 * rounds >= 160, "not before its time"
    assert rounds < 9


def test_the_owner_with_fewer_running_jobs_comes_first(submit: Submit) -> None:
    mine = [make(owner="a", waited_s=100 - n) for n in range(3)]
    theirs = make(owner="b")
    assert [take() for _ in range(4)] == [mine[0], theirs, mine[1], mine[2]]


def test_owners_take_turns_on_a_single_device(submit: Submit) -> None:
    for number in range(4):
        make(owner="a", waited_s=100 - number)
    for number in range(2):
        make(owner="b", waited_s=50 - number)
    owners = []
    for _ in range(6):
        job_id = take()
        assert job_id is not None
        with db.session() as session:
            owners.append(session.get_one(Job, job_id).owner)
        end(job_id)
    assert "".join(owners) == "ababaa"


def test_an_owner_at_its_limit_waits_and_others_do_not(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_MAX_RUNNING_PER_OWNER", "1")
    settings.cache_clear()
    first, second, theirs = make("high", waited_s=2), make("high", waited_s=1), make("low", owner="b")
    assert [take(), take(), take()] == [first, theirs, None]
    end(first)
    assert take() == second


def test_the_limit_holds_however_many_claim_at_once(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_MAX_RUNNING_PER_OWNER", "2")
    settings.cache_clear()
    for _ in range(16):
        make("high")
    with ThreadPoolExecutor(8) as pool:
        taken = [job_id for job_id in pool.map(lambda _: take(), range(16)) if job_id]
    assert len(taken) == 2


def test_what_waits_for_its_time_is_left(submit: Submit) -> None:
    make("high", waited_s=-60)
    ready = make("low")
    assert [take(), take()] == [ready, None]


def test_many_that_claim_at_once_take_each_job_once(submit: Submit) -> None:
    made = {make(PRIORITIES[n % 3], owner="ab"[n % 2]) for n in range(24)}
    with ThreadPoolExecutor(8) as pool:
        taken = [job_id for job_id in pool.map(lambda _: take(), range(40)) if job_id]
    while (job_id := take()) is not None:  # all of a line's front may have been locked in one moment
        taken.append(job_id)
    assert len(taken) == len(set(taken))
    assert set(taken) == made


def test_a_long_queue_does_not_slow_a_claim(submit: Submit) -> None:
    first = make("high", waited_s=5000)
    columns = ", ".join(
        column.name for column in Job.__table__.columns if column.name not in {"id", "queued_at", "owner", "priority"}
    )
    with db.session() as session:
        session.execute(
            text(
                f"INSERT INTO jobs (id, queued_at, owner, priority, {columns}) "
                f"SELECT 'job_' || n, now() - n * interval '0.1 s', 'o' || n % 5, n % 3, {columns} "
                "FROM jobs, generate_series(1, 10000) n"
            )
        )
        session.execute(text("ANALYZE jobs"))
    assert take() is not None
    began = time.perf_counter()
    for _ in range(10):
        assert take() not in {None, first}
    assert (time.perf_counter() - began) / 10 < 0.1

"""Many at once: claims, writers, sweeps and wishes on the same rows of a real database."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import make_url, select, text

from core import db, jobs
from core.errors import Conflict
from core.settings import settings
from models.status import JobStatus
from models.tables import Attempt, Event, Job
from tests.core.conftest import Submit, read

S = JobStatus


def claim(job_id: str | None = None, lease_s: float = 60.0) -> jobs.Claim | None:
    with db.session() as session:
        return jobs.claim(session, worker="w", lease_s=lease_s, job_id=job_id)


def test_each_job_is_claimed_once_however_many_claim(submit: Submit) -> None:
    ids = {submit() for _ in range(40)}
    barrier = threading.Barrier(12)

    def worker() -> list[jobs.Claim]:
        barrier.wait()
        mine = []
        while (held := claim()) is not None:
            mine.append(held)
        return mine

    with ThreadPoolExecutor(12) as pool:
        won = [held for mine in [pool.submit(worker) for _ in range(12)] for held in mine.result()]
    assert sorted(held.job_id for held in won) == sorted(ids)
    assert {held.attempt for held in won} == {1}
    assert len({held.token for held in won}) == 40


def test_duplicates_of_one_message_claim_once(submit: Submit) -> None:
    job_id = submit()
    barrier = threading.Barrier(8)

    def message() -> jobs.Claim | None:
        barrier.wait()
        return claim(job_id)

    with ThreadPoolExecutor(8) as pool:
        won = [future.result() for future in [pool.submit(message) for _ in range(8)]]
    assert sum(held is not None for held in won) == 1
    with db.session() as session:
        assert len(session.scalars(select(Attempt)).all()) == 1


def test_events_of_concurrent_writers_have_no_gap_and_no_repeat(submit: Submit) -> None:
    job_id = submit()
    held = claim(job_id)
    assert held is not None
    barrier = threading.Barrier(6)

    def writer(number: int) -> None:
        barrier.wait()
        for step in range(15):
            with db.session() as session:
                lines: list[jobs.Line] = [("metrics", {"writer": number, "step": step})] * (1 + step % 3)
                jobs.record(session, held, lines)
                if step % 5 == 4:
                    session.rollback()  # what is rolled back takes its numbers with it

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(writer, number) for number in range(6)]:
            future.result()
    with db.session() as session:
        seqs = session.scalars(select(Event.seq).where(Event.job_id == job_id).order_by(Event.seq)).all()
    assert seqs == list(range(1, len(seqs) + 1))
    # 15 steps of 1, 2, 3, 1, 2 ... lines less the three that were rolled back (steps 4, 9, 14: 2, 1, 3 lines).
    assert len(seqs) == 2 + 6 * (30 - 6)
    assert read(job_id).event_seq == len(seqs)


def test_an_ended_lease_goes_back_and_the_last_attempt_fails(submit: Submit) -> None:
    job_id = submit(max_attempts=2)
    for expected in (S.QUEUED, S.FAILED):
        assert claim(job_id, lease_s=0.0) is not None
        assert sweep().moved == {expected: [job_id]}
    job = read(job_id)
    assert job.error is not None
    assert (job.error["class"], job.error["code"]) == ("infra", "worker_lost")
    assert "attempt 2 of 2" in job.error["detail"]
    with db.session() as session:
        assert session.scalars(select(Attempt.outcome)).all() == ["lost", "lost"]
    assert sweep().moved == {}


def sweep() -> jobs.Swept:
    with db.session() as session:
        return jobs.sweep(session)


@pytest.mark.parametrize(
    ("wish", "expected"), [(jobs.request_cancel, S.CANCELLED), (jobs.request_pause, S.PAUSED)], ids=["cancel", "pause"]
)
def test_a_wish_whose_worker_is_gone_is_granted_by_the_sweep(
    submit: Submit, wish: Callable[..., Job], expected: JobStatus
) -> None:
    job_id = submit()
    assert claim(job_id, lease_s=0.0) is not None
    with db.session() as session:
        wish(session, job_id)
    assert sweep().moved == {expected: [job_id]}


def test_a_lost_attempt_ran_until_its_lease_ended(submit: Submit) -> None:
    job_id = submit(max_seconds=100)
    assert claim(job_id, lease_s=0.0) is not None
    with db.session() as session:
        session.execute(text("UPDATE attempts SET started_at = started_at - interval '150 s'"))
        session.execute(text("UPDATE jobs SET lease_expires_at = lease_expires_at - interval '90 s'"))
    assert sweep().moved == {S.QUEUED: [job_id]}
    assert 59 < read(job_id).ran_s < 61


def test_a_live_lease_and_a_renewed_one_are_left_alone(submit: Submit) -> None:
    live, renewed = submit(), submit()
    assert claim(live) is not None
    held = claim(renewed, lease_s=0.0)
    assert held is not None
    with db.session() as session:
        jobs.heartbeat(session, jobs.Claim(renewed, 1, held.token, 60.0))
    assert sweep() == jobs.Swept(leader=True, moved={})
    assert read(live).status is read(renewed).status is S.RUNNING


def test_leases_that_ended_while_the_database_was_away_are_spared(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    held = claim(job_id, lease_s=0.0)
    assert held is not None
    monkeypatch.setenv("DISTILLERY_HEARTBEAT_S", "3600")  # the server has started less than two of them ago
    settings.cache_clear()
    assert sweep().moved == {}
    with db.session() as session:
        jobs.heartbeat(session, held)


def test_one_sweeps_at_a_time(submit: Submit) -> None:
    job_id = submit()
    assert claim(job_id, lease_s=0.0) is not None
    with db.session() as leader:
        assert jobs.sweep(leader).leader
        assert sweep() == jobs.Swept(leader=False, moved={})
    assert read(job_id).status is S.QUEUED
    assert sweep().leader, "leadership ends with the transaction"


def test_a_sweep_does_not_wait_for_a_job_that_is_being_written(submit: Submit) -> None:
    busy, lost = submit(), submit()
    held = claim(busy, lease_s=0.0)
    assert held is not None
    assert claim(lost, lease_s=0.0) is not None
    with db.session() as writer:
        jobs.record(writer, held, [("notice", {})])
        assert sweep().moved == {S.QUEUED: [lost]}


def test_the_end_of_a_job_and_a_cancel_race_to_one_of_two_truths(submit: Submit) -> None:
    for _ in range(10):
        job_id = submit()
        held = claim(job_id)
        assert held is not None
        barrier = threading.Barrier(2)

        def end(held: jobs.Claim = held, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with db.session() as session:
                jobs.succeed(session, held, result={}, artifacts=[], log="")

        def cancel(job_id: str = job_id, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                with db.session() as session:
                    jobs.request_cancel(session, job_id)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            ended, wished = pool.submit(end), pool.submit(cancel)
            ended.result()
            was_in_time = wished.result()
        with db.session() as session:
            types = session.scalars(select(Event.type).where(Event.job_id == job_id).order_by(Event.seq)).all()
        assert read(job_id).status is S.SUCCEEDED
        assert types == ["queued", "started", *(["cancelling"] if was_in_time else []), "succeeded"]


def test_old_queued_jobs_are_found_oldest_first(submit: Submit) -> None:
    first, second, third = submit(), submit(), submit()
    assert claim(second) is not None
    with db.session() as session:
        assert jobs.stale_queued(session, older_than_s=60) == []
        assert jobs.stale_queued(session, older_than_s=-1) == [first, third]


@contextmanager
def listening(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"LISTEN {jobs.CHANNEL}")
        yield connection


def test_every_change_is_told_to_listeners_after_its_commit(submit: Submit, database: str) -> None:
    with listening(database) as ear:
        job_id = submit()
        held = claim(job_id)
        assert held is not None
        with db.session() as session:
            jobs.record(session, held, [("notice", {}), ("notice", {})])
        with db.session() as session:
            jobs.record(session, held, [("notice", {})])
            session.rollback()
        told = [notify.payload for notify in ear.notifies(timeout=2, stop_after=3)]
        assert told == [job_id] * 3
        assert list(ear.notifies(timeout=0.1)) == []


def test_a_status_read_is_one_indexed_query(submit: Submit) -> None:
    for _ in range(3):
        submit()
    with db.session() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.scalars(text("EXPLAIN SELECT * FROM jobs WHERE id = 'job_A'")).all()
        queue = session.scalars(
            text("EXPLAIN SELECT id FROM jobs WHERE status = 'queued' ORDER BY queued_at, id LIMIT 1")
        ).all()
    assert "Index Scan using pk_jobs" in plan[0]
    assert any("ix_jobs_queued" in line for line in queue)

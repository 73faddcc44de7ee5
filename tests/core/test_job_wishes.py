"""What a user may wish of a job in each state, and what becomes of the wish."""

from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import db, jobs
from core.errors import Conflict, Infra, NotFound, UserConfig
from models.status import TERMINAL, Desired, JobStatus
from models.tables import Artifact, Attempt, Event, Job
from tests.core.conftest import Submit, read

FILE = jobs.NewArtifact("student.pth", "jobs/x/attempts/1/student.pth", 3, "ab" * 32, "application/octet-stream")
S = JobStatus
Wish = Callable[[Session, str], Job]


def claimed(job_id: str) -> jobs.Claim:
    with db.session() as session:
        made = jobs.claim(session, worker="w1", lease_s=60, job_id=job_id)
    assert made is not None
    return made


def wish(what: Wish, job_id: str) -> Job:
    with db.session() as session:
        return what(session, job_id)


def brought_to(status: JobStatus, submit: Submit) -> tuple[str, jobs.Claim | None]:
    """A job in that state, by the moves that lead there, and the claim that an attempt of it has."""
    job_id = submit()
    if status in {S.QUEUED, S.PAUSED}:
        if status is S.PAUSED:
            wish(jobs.request_pause, job_id)
        return job_id, None
    if status is S.CANCELLED:
        wish(jobs.request_cancel, job_id)
        return job_id, None
    held = claimed(job_id)
    with db.session() as session:
        match status:
            case S.SUCCEEDED:
                jobs.succeed(session, held, result={}, artifacts=[], log="")
            case S.FAILED:
                jobs.fail(session, held, UserConfig("x"), exit_code=3, log="")
            case S.CANCELLING:
                jobs.request_cancel(session, job_id)
            case S.PAUSING:
                jobs.request_pause(session, job_id)
    return job_id, held


OUTCOMES: dict[Wish, dict[JobStatus, JobStatus]] = {
    jobs.request_cancel: {
        S.QUEUED: S.CANCELLED,
        S.RUNNING: S.CANCELLING,
        S.PAUSING: S.CANCELLING,
        S.PAUSED: S.CANCELLED,
        S.CANCELLING: S.CANCELLING,
        S.CANCELLED: S.CANCELLED,
    },
    jobs.request_pause: {S.QUEUED: S.PAUSED, S.RUNNING: S.PAUSING, S.PAUSING: S.PAUSING, S.PAUSED: S.PAUSED},
    jobs.request_resume: {S.QUEUED: S.QUEUED, S.RUNNING: S.RUNNING, S.PAUSING: S.PAUSING, S.PAUSED: S.QUEUED},
}


@pytest.mark.parametrize("what", OUTCOMES, ids=lambda what: what.__name__)
def test_every_wish_in_every_state(submit: Submit, what: Wish) -> None:
    for status in S:
        job_id, _ = brought_to(status, submit)
        before = read(job_id)
        if (expected := OUTCOMES[what].get(status)) is None:
            with pytest.raises(Conflict, match=f"is {status}"):
                wish(what, job_id)
        else:
            assert wish(what, job_id).status is expected
            assert wish(what, job_id).status is expected, "a wish may be repeated"
        after = read(job_id)
        assert after.status is (expected or status)
        assert (after.finished_at is not None) == (after.status in TERMINAL)
        if status in TERMINAL:
            assert after.version == before.version, "what has ended never changes"


@pytest.mark.parametrize("what", OUTCOMES, ids=lambda what: what.__name__)
def test_a_wish_for_no_job(database: str, what: Wish) -> None:
    with pytest.raises(NotFound, match="job_none"):
        wish(what, "job_none")


def test_a_cancelled_job_keeps_its_partial_student(submit: Submit) -> None:
    job_id, held = brought_to(S.CANCELLING, submit)
    assert held is not None
    with db.session() as session:
        assert jobs.heartbeat(session, held) is Desired.CANCEL
        jobs.stop(session, held, outcome="cancelled", artifacts=[FILE], log="", result={"partial": True})
    job = read(job_id)
    assert (job.status, job.result) == (S.CANCELLED, {"partial": True})
    with db.session() as session:
        assert session.scalars(select(Artifact.name).where(Artifact.job_id == job_id)).all() == ["student.pth"]
        types = session.scalars(select(Event.type).where(Event.job_id == job_id).order_by(Event.seq)).all()
    assert types == ["queued", "started", "cancelling", "cancelled"]


def test_a_pause_lets_go_of_the_lease_and_a_resume_queues_again(submit: Submit) -> None:
    job_id, held = brought_to(S.PAUSING, submit)
    assert held is not None
    with db.session() as session:
        assert jobs.heartbeat(session, held) is Desired.PAUSE
        paused = jobs.stop(session, held, outcome="paused", artifacts=[FILE], log="")
        assert (paused.status, paused.lease_token, paused.finished_at) == (S.PAUSED, None, None)
        assert session.scalars(select(Artifact)).all() == []
        assert jobs.claim(session, worker="w", lease_s=1, job_id=job_id) is None
    assert wish(jobs.request_resume, job_id).status is S.QUEUED
    assert claimed(job_id).attempt == 2
    assert read(job_id).attempts_forgiven == 1


def test_a_resume_while_pausing_still_ends_the_attempt_and_queues(submit: Submit) -> None:
    job_id, held = brought_to(S.PAUSING, submit)
    assert held is not None
    assert wish(jobs.request_resume, job_id).desired is Desired.RUN
    with db.session() as session:
        assert jobs.heartbeat(session, held) is Desired.PAUSE
        assert jobs.stop(session, held, outcome="paused", log="").status is S.QUEUED


def test_a_pause_after_a_resume_after_a_pause_pauses(submit: Submit) -> None:
    job_id, held = brought_to(S.PAUSING, submit)
    assert held is not None
    wish(jobs.request_resume, job_id)
    wish(jobs.request_pause, job_id)
    with db.session() as session:
        assert jobs.stop(session, held, outcome="paused", log="").status is S.PAUSED


def test_a_drain_does_what_the_user_wished_meanwhile(submit: Submit) -> None:
    for status, expected in {S.RUNNING: S.QUEUED, S.PAUSING: S.PAUSED, S.CANCELLING: S.CANCELLED}.items():
        _, held = brought_to(status, submit)
        assert held is not None
        with db.session() as session:
            assert jobs.stop(session, held, outcome="drained", log="").status is expected


def test_a_fault_of_the_machine_does_what_the_user_wished_meanwhile(submit: Submit) -> None:
    for status, expected in {S.RUNNING: S.QUEUED, S.PAUSING: S.PAUSED, S.CANCELLING: S.CANCELLED}.items():
        _, held = brought_to(status, submit)
        assert held is not None
        with db.session() as session:
            assert jobs.fail(session, held, Infra("x"), exit_code=1, log="").status is expected


@pytest.mark.parametrize("status", [S.PAUSING, S.CANCELLING])
def test_a_job_may_end_before_the_wish_reaches_it(submit: Submit, status: JobStatus) -> None:
    job_id, held = brought_to(status, submit)
    assert held is not None
    with db.session() as session:
        assert jobs.succeed(session, held, result={}, artifacts=[FILE], log="").status is S.SUCCEEDED
    with pytest.raises(Conflict):
        wish(jobs.request_resume, job_id)


def test_nobody_stops_what_nobody_wished_to_stop(submit: Submit) -> None:
    _, held = brought_to(S.RUNNING, submit)
    assert held is not None
    with pytest.raises(AssertionError), db.session() as session:
        jobs.stop(session, held, outcome="cancelled", log="")
    assert read(held.job_id).status is S.RUNNING


def test_a_retry_is_a_new_job_of_the_same_spec(submit: Submit) -> None:
    job_id, _ = brought_to(S.FAILED, submit)
    before = read(job_id)
    with db.session() as session:
        fresh = jobs.retry(session, job_id, "start")
    assert fresh.id != job_id
    assert (fresh.status, fresh.spec, fresh.retry_of, fresh.retry_from) == (S.QUEUED, before.spec, job_id, "start")
    assert read(job_id).version == before.version


def test_a_retry_from_the_checkpoint_takes_it_along(submit: Submit) -> None:
    job_id = submit()
    held = claimed(job_id)
    checkpoint = {"key": "jobs/x/checkpoints/1", "step": 40}
    with db.session() as session:
        jobs.record(session, held, [], checkpoint=checkpoint)
        jobs.fail(session, held, UserConfig("x"), exit_code=3, log="")
        assert jobs.retry(session, job_id, "checkpoint").checkpoint == checkpoint
        assert jobs.retry(session, job_id, "start").checkpoint is None


def test_a_retry_that_cannot_be(submit: Submit) -> None:
    running, _ = brought_to(S.RUNNING, submit)
    without, _ = brought_to(S.CANCELLED, submit)
    with db.session() as session:
        with pytest.raises(Conflict, match="has ended"):
            jobs.retry(session, running, "start")
        with pytest.raises(Conflict, match="no checkpoint"):
            jobs.retry(session, without, "checkpoint")


def test_only_an_ended_job_is_deleted_and_its_retries_stay(submit: Submit) -> None:
    job_id, held = brought_to(S.CANCELLING, submit)
    assert held is not None
    with db.session() as session:
        with pytest.raises(Conflict, match="cancel it"):
            jobs.delete(session, job_id)
        jobs.stop(session, held, outcome="cancelled", artifacts=[FILE], log="")
        fresh = jobs.retry(session, job_id, "start").id
    with db.session() as session:
        assert jobs.delete(session, job_id) == [FILE.storage_key]
    with db.session() as session:
        assert session.get(Job, job_id) is None
        for table in (Attempt, Event, Artifact):
            assert session.scalars(select(table).where(table.job_id == job_id)).all() == []
    assert read(fresh).retry_of is None

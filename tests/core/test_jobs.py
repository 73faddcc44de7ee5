"""The life of a job by its worker: claimed, recorded, ended; and everything that a stale worker may not do."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core import db, jobs
from core.errors import Infra, Internal, UserConfig
from core.settings import settings
from models.status import Desired, JobStatus
from models.tables import Artifact, Attempt, Event
from tests.core.conftest import Submit, read, spec

Claim = jobs.Claim
FILE = jobs.NewArtifact("student.pth", "jobs/x/attempts/1/student.pth", 3, "ab" * 32, "application/octet-stream")


def claim(job_id: str | None = None, lease_s: float = 60.0, token: str | None = None) -> Claim | None:
    with db.session() as session:
        return jobs.claim(session, worker="w1", lease_s=lease_s, job_id=job_id, token=token)


def claimed(job_id: str | None = None, lease_s: float = 60.0) -> Claim:
    made = claim(job_id, lease_s)
    assert made is not None
    return made


def events(job_id: str) -> list[tuple[int, str]]:
    with db.session() as session:
        rows = session.execute(select(Event.seq, Event.type).where(Event.job_id == job_id).order_by(Event.seq))
        return [(row.seq, row.type) for row in rows]


def attempts(job_id: str) -> list[Attempt]:
    with db.session() as session:
        return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def test_a_submitted_job_holds_its_resolved_spec_and_its_first_event(submit: Submit) -> None:
    job = read(submit())
    assert job.status is JobStatus.QUEUED
    assert job.desired is Desired.RUN
    assert job.spec["hard"] == 0.1
    assert job.spec["loss"][0]["type"] == "kd"
    assert job.labels == {"team": "vision"}
    assert job.max_attempts == 3
    assert (job.attempt, job.version, job.event_seq) == (0, 1, 1)
    assert events(job.id) == [(1, "queued")]


def test_a_submit_that_is_rolled_back_leaves_nothing(submit: Submit) -> None:
    with db.session() as session:
        job_id = jobs.submit(session, spec()).id
        session.rollback()
    assert events(job_id) == []
    assert claim(job_id) is None


def test_a_claim_makes_an_attempt(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    assert held.job_id == job_id
    assert held.attempt == 1
    job = read(job_id)
    assert job.status is JobStatus.RUNNING
    assert job.phase == "staging"
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert 55 < (job.lease_expires_at - job.started_at).total_seconds() <= 61
    [attempt] = attempts(job_id)
    assert (attempt.worker, attempt.outcome, attempt.lease_token) == ("w1", None, held.token)


def test_the_oldest_is_claimed_first_and_a_duplicate_message_claims_nothing(submit: Submit) -> None:
    first, second = submit(), submit()
    assert claimed().job_id == first
    assert claim(first) is None
    assert claimed(second).job_id == second
    assert claim() is None
    assert claim("job_none") is None


def test_a_heartbeat_extends_the_lease_and_leaves_the_version(submit: Submit) -> None:
    job_id = submit()
    held = claimed(lease_s=0.0)
    before = read(job_id)
    with db.session() as session:
        assert jobs.heartbeat(session, Claim(job_id, 1, held.token, 60.0)) is Desired.RUN
    after = read(job_id)
    assert before.lease_expires_at is not None
    assert after.lease_expires_at is not None
    assert after.lease_expires_at > before.lease_expires_at
    assert after.version == before.version


def test_records_are_numbered_and_shown_by_the_job(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    progress = {"epoch": 1, "percent": 50.0, "metrics": {"loss": math.nan}}
    with db.session() as session:
        lines: list[jobs.Line] = [("phase", {"phase": "training"}), ("progress", progress)]
        jobs.record(session, held, lines, phase="training", progress=progress, lines_read=2)
    job = read(job_id)
    assert job.phase == "training"
    assert job.progress == {"epoch": 1, "percent": 50.0, "metrics": {"loss": None}}
    assert job.version == 3
    assert events(job_id) == [(1, "queued"), (2, "started"), (3, "phase"), (4, "progress")]
    assert attempts(job_id)[0].lines_read == 2


def test_how_networks_compute_goes_into_the_spec_once_and_a_retry_takes_it_along(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    first = {"student": {"name": "bf16", "channels_last": True, "compile": False}}
    other = {"student": {"name": "float32", "channels_last": True, "compile": False}}
    before = read(job_id).spec
    for said in (first, other | {"control": other["student"]}):
        with db.session() as session:
            jobs.record(session, held, [("arithmetic", {"networks": said})], arithmetic=said)
    assert read(job_id).spec == {**before, "arithmetic": {**first, "control": other["student"]}}
    with db.session() as session:
        jobs.fail(session, held, UserConfig("no", code="x"), exit_code=3, log="")
    with db.session() as session:
        assert jobs.retry(session, job_id, "start").spec["arithmetic"] == read(job_id).spec["arithmetic"]


def test_a_stale_attempt_does_not_say_how_networks_compute(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    stale = replace(held, token="another")
    before = read(job_id).spec
    with pytest.raises(jobs.LeaseLost), db.session() as session:
        jobs.record(session, stale, [], arithmetic={"student": {"name": "bf16"}})
    assert read(job_id).spec == before


def test_text_that_the_database_has_no_place_for_is_stored_without_it(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    with db.session() as session:
        jobs.record(session, held, [("warning", {"code": "x", "message": "a\x00b\ud800c"})])
        jobs.fail(session, held, Internal("\x00"), exit_code=1, log="one\x00two\udfff")
    assert attempts(job_id)[0].log == "one\ufffdtwo\ufffd"
    with db.session() as session:
        data = session.scalar(select(Event.data).where(Event.job_id == job_id, Event.type == "warning"))
    assert data == {"code": "x", "message": "a\ufffdb\ufffdc"}


def test_success_shows_the_artifacts_and_closes_the_attempt(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    with db.session() as session:
        jobs.succeed(session, held, result={"test": {"student": 0.9}}, artifacts=[FILE], log="done")
    job = read(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.result == {"test": {"student": 0.9}}
    assert (job.phase, job.lease_token, job.error) == (None, None, None)
    assert job.finished_at is not None
    assert job.ran_s > 0
    assert events(job_id)[-1] == (3, "succeeded")
    [attempt] = attempts(job_id)
    assert (attempt.outcome, attempt.exit_code, attempt.log) == ("succeeded", 0, "done")
    with db.session() as session:
        [artifact] = session.scalars(select(Artifact).where(Artifact.job_id == job_id))
    assert (artifact.name, artifact.attempt, artifact.sha256) == ("student.pth", 1, "ab" * 32)


def test_a_fault_of_the_user_is_not_tried_again(submit: Submit) -> None:
    job_id = submit()
    with db.session() as session:
        jobs.fail(session, claimed(), UserConfig("Lower the rate.", code="diverged"), exit_code=3, log="nan")
    job = read(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["class"], job.error["code"], job.error["detail"]) == (
        "user_config",
        "diverged",
        "Lower the rate.",
    )
    assert attempts(job_id)[0].error == job.error


def test_a_fault_of_the_machine_is_tried_again_until_attempts_are_used_up(submit: Submit) -> None:
    job_id = submit(max_attempts=2)
    with db.session() as session:
        assert jobs.fail(session, claimed(), Infra("Disk full."), exit_code=1, log="").status is JobStatus.QUEUED
    assert read(job_id).error is None
    with db.session() as session:
        assert jobs.fail(session, claimed(), Infra("Disk full."), exit_code=1, log="").status is JobStatus.FAILED
    job = read(job_id)
    assert job.error is not None
    assert job.error["detail"] == "Disk full. That was attempt 2 of 2."
    assert [kind for _, kind in events(job_id)] == ["queued", "started", "requeued", "started", "failed"]


def test_a_job_that_the_machine_failed_waits_longer_each_time(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit()
    held = claimed()
    monkeypatch.setenv("DISTILLERY_RETRY_WAIT_S", "100")
    settings.cache_clear()
    with db.session() as session:
        jobs.fail(session, held, Infra("Storage is away."), exit_code=1, log="")
    assert claim(job_id) is None
    with db.session() as session:
        assert jobs.stale_queued(session, older_than_s=0) == []
        now = session.execute(text("SELECT now()")).scalar_one()
    assert 90 < (read(job_id).queued_at - now).total_seconds() <= 100


def test_a_drained_attempt_does_not_count(submit: Submit) -> None:
    job_id = submit(max_attempts=1)
    for number in (1, 2, 3):
        held = claimed()
        assert held.attempt == number
        with db.session() as session:
            assert jobs.stop(session, held, outcome="drained", log="").status is JobStatus.QUEUED
    assert [attempt.outcome for attempt in attempts(job_id)] == ["drained"] * 3
    with db.session() as session:
        assert jobs.fail(session, claimed(), Infra("x"), exit_code=1, log="").status is JobStatus.FAILED


def test_seconds_of_running_add_up_to_the_deadline(submit: Submit) -> None:
    job_id = submit(max_seconds=100)
    for expected in (JobStatus.QUEUED, JobStatus.FAILED):
        held = claimed()
        _age(held, seconds=60)
        with db.session() as session:
            assert jobs.stop(session, held, outcome="drained", log="").status is expected
    job = read(job_id)
    assert 120 <= job.ran_s < 125
    assert job.error is not None
    assert job.error["class"] == "deadline"


def _age(held: Claim, seconds: float) -> None:
    """Make an attempt look as if it had started earlier."""
    with db.session() as session:
        attempt = session.get_one(Attempt, (held.job_id, held.attempt))
        attempt.started_at -= timedelta(seconds=seconds)


STALE_WRITES: dict[str, Callable[[Session, Claim], Any]] = {
    "heartbeat": jobs.heartbeat,
    "record": lambda session, held: jobs.record(session, held, [("notice", {})]),
    "succeed": lambda session, held: jobs.succeed(session, held, result={}, artifacts=[FILE], log=""),
    "fail": lambda session, held: jobs.fail(session, held, Internal("x"), exit_code=1, log=""),
    "stop": lambda session, held: jobs.stop(session, held, outcome="drained", log=""),
}


@pytest.mark.parametrize("then", ["queued", "claimed again", "terminal", "deleted"])
def test_a_stale_worker_changes_nothing(submit: Submit, then: str) -> None:
    job_id = submit()
    stale = claimed(lease_s=0.0)
    with db.session() as session:
        assert jobs.sweep(session).moved == {JobStatus.QUEUED: [job_id]}
    if then == "claimed again":
        claimed(job_id)
    elif then in {"terminal", "deleted"}:
        with db.session() as session:
            jobs.request_cancel(session, job_id)
            if then == "deleted":
                jobs.delete(session, job_id)
    _assert_nothing_is_written(job_id, stale)


def test_a_claim_must_fit_in_every_part(submit: Submit) -> None:
    job_id = submit()
    held = claimed()
    _assert_nothing_is_written(job_id, Claim(job_id, 2, held.token, 60))
    _assert_nothing_is_written(job_id, Claim(job_id, 1, "guess", 60))
    _assert_nothing_is_written(job_id, Claim("job_none", 1, held.token, 60))


def _assert_nothing_is_written(job_id: str, stale: Claim) -> None:
    before = _everything(job_id)
    for write in STALE_WRITES.values():
        with pytest.raises(jobs.LeaseLost), db.session() as session:
            write(session, stale)
    assert _everything(job_id) == before


def _everything(job_id: str) -> list[Any]:
    with db.session() as session:
        tables = ("jobs WHERE id", "attempts WHERE job_id", "events WHERE job_id", "artifacts WHERE job_id")
        return [session.execute(text(f"SELECT * FROM {table} = :id"), {"id": job_id}).all() for table in tables]


def test_a_commit_whose_answer_was_lost_is_read_by_its_token(submit: Submit) -> None:
    submit()
    with db.session() as session:
        assert jobs.attempt_of(session, "mine") is None
    held = claim(token="mine")
    assert held is not None
    with db.session() as session:
        found = jobs.attempt_of(session, "mine")
        assert found is not None
        assert (found.job_id, found.number, found.outcome) == (held.job_id, 1, None)
        jobs.succeed(session, held, result={}, artifacts=[], log="")
    with db.session() as session:
        found = jobs.attempt_of(session, "mine")
        assert found is not None
        assert found.outcome == "succeeded"

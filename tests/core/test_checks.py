"""Checks of uploads: claimed by one at a time, renewed, answered once, given up at last."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text

from core import checks, db, job_inputs, jobs
from core.settings import settings
from core.storage import Stored
from models.canonical import RULES
from models.spec.data import DatasetSpec
from models.spec.job import JobSpec
from models.spec.teachers import TeacherSpec
from models.status import CheckStatus
from models.tables import Dataset, Teacher, Upload
from models.work import IntakeResult

STORED = Stored("blobs/ab/abc", "ab" * 32, 7)
READY = IntakeResult(ready=True, report={"checks": []}, meta={"num_outputs": 3}, file="data.safetensors")
REJECTED = IntakeResult(ready=False, report={"checks": [{"id": "format", "result": "fail", "detail": "no"}]})


@pytest.fixture
def waiting(database: str) -> list[tuple[checks.Kind, str]]:
    """A teacher and a data set that wait for their checks."""
    with db.session() as session:
        session.add(Upload(id="upl_A", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        spec = TeacherSpec.model_validate({"architecture": {"type": "mlp", "hidden": [8]}})
        teacher = checks.submit_teacher(session, "t", "upl_A", spec)
        assert teacher.status is CheckStatus.CHECKING
        assert teacher.spec["architecture"]["type"] == "mlp"
        dataset = checks.submit_dataset(session, "d", "upl_A", DatasetSpec(task="image_classification"))
        assert dataset.created_at is not None
        return [("teachers", teacher.id), ("datasets", dataset.id)]


def claim(of: tuple[checks.Kind, str], lease_s: float = 60.0) -> checks.CheckClaim | None:
    with db.session() as session:
        return checks.claim_check(session, *of, lease_s)


def claimed(of: tuple[checks.Kind, str], lease_s: float = 60.0) -> checks.CheckClaim:
    made = claim(of, lease_s)
    assert made is not None
    return made


def finish(held: checks.CheckClaim, result: IntakeResult) -> bool:
    with db.session() as session:
        return checks.finish_check(session, held, result, STORED if result.ready else None)


def read(of: tuple[checks.Kind, str]) -> Teacher | Dataset:
    with db.session() as session:
        return session.get_one(Teacher, of[1]) if of[0] == "teachers" else session.get_one(Dataset, of[1])


def test_a_check_is_claimed_by_one(waiting: list[tuple[checks.Kind, str]]) -> None:
    for each in waiting:
        barrier = threading.Barrier(6)

        def message(of: tuple[checks.Kind, str] = each, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return claim(of) is not None

        with ThreadPoolExecutor(6) as pool:
            assert sum(future.result() for future in [pool.submit(message) for _ in range(6)]) == 1
    assert claim(("teachers", "tch_none")) is None


def test_a_verdict_for_is_kept_with_its_file(waiting: list[tuple[checks.Kind, str]]) -> None:
    for each in waiting:
        held = claimed(each)
        assert (held.kind, held.id, held.upload_id, held.attempt) == (*each, "upl_A", 1)
        assert finish(held, READY)
        row = read(each)
        assert row.status is CheckStatus.READY
        assert (row.storage_key, row.sha256, row.size) == (STORED.key, STORED.sha256, STORED.size)
        assert (row.meta, row.lease_token) == ({"num_outputs": 3}, None)
        assert row.checked_at is not None


def test_a_verdict_against_is_kept_with_its_reasons(waiting: list[tuple[checks.Kind, str]]) -> None:
    for each in waiting:
        assert finish(claimed(each), REJECTED)
        row = read(each)
        assert (row.status, row.storage_key, row.meta) == (CheckStatus.REJECTED, None, None)
        assert row.report == {**REJECTED.report, "rules": RULES}


def test_a_verdict_is_final(waiting: list[tuple[checks.Kind, str]]) -> None:
    held = claimed(waiting[0])
    assert finish(held, READY)
    assert not finish(held, REJECTED)
    assert claim(waiting[0]) is None
    assert read(waiting[0]).status is CheckStatus.READY


def test_a_lost_lease_changes_nothing(waiting: list[tuple[checks.Kind, str]]) -> None:
    for each in waiting:
        stale = claimed(each, lease_s=0.0)
        held = claimed(each)
        assert held.attempt == 2
        with db.session() as session:
            assert not checks.renew(session, stale)
        assert not finish(stale, REJECTED)
        with db.session() as session:
            assert checks.renew(session, held)
        assert finish(held, READY)


def test_a_renewed_lease_is_not_taken(waiting: list[tuple[checks.Kind, str]]) -> None:
    held = claimed(waiting[0], lease_s=0.0)
    with db.session() as session:
        assert checks.renew(session, replace(held, lease_s=60.0))
    assert claim(waiting[0]) is None


def test_a_file_that_crashes_every_check_is_rejected(waiting: list[tuple[checks.Kind, str]]) -> None:
    for each in waiting:
        for _ in range(settings().check_max_attempts):
            claimed(each, lease_s=0.0)
        assert claim(each) is None
        row = read(each)
        assert row.status is CheckStatus.REJECTED
        assert row.report["checks"][0]["id"] == "check_crashed"
        assert "3 times" in row.report["checks"][0]["detail"]


def test_forgotten_checks_are_found(waiting: list[tuple[checks.Kind, str]]) -> None:
    teacher, dataset = waiting

    def stale(older_than_s: float) -> list[tuple[checks.Kind, str]]:
        with db.session() as session:
            return checks.stale_checks(session, older_than_s)

    assert stale(60) == []
    with db.session() as session:
        session.execute(text("UPDATE teachers SET created_at = now() - interval '2 min'"))
        session.execute(text("UPDATE datasets SET created_at = now() - interval '2 min'"))
    assert stale(60) == [teacher, dataset]
    held = claimed(dataset)
    assert stale(60) == [teacher], "somebody is at it"
    with db.session() as session:
        session.execute(text("UPDATE datasets SET lease_expires_at = now() - interval '2 min'"))
    assert stale(60) == [teacher, dataset]
    assert finish(held, REJECTED)
    assert stale(60) == [teacher]


def test_a_verdict_that_is_made_again_leaves_accepted_jobs_what_they_had(
    waiting: list[tuple[checks.Kind, str]],
) -> None:
    for each in waiting:
        assert finish(claimed(each), READY)
    (teacher,) = (id_ for kind, id_ in waiting if kind == "teachers")
    (dataset,) = (id_ for kind, id_ in waiting if kind == "datasets")
    spec = {"teacher": teacher, "dataset": dataset, "student": {"type": "mlp"}, "loss": {"type": "kd", "T": 4}}
    with db.session() as session:
        job = jobs.submit(session, JobSpec.model_validate(spec)).id
    before = [(read(each).storage_key, read(each).sha256) for each in waiting]
    for each in waiting:
        ask_again(each)
        ask_again(each)
        row = read(each)
        assert (row.status, row.storage_key is None, row.recheck_at is None) == (CheckStatus.READY, False, False)
        assert finish(claimed(each), REJECTED)
        row = read(each)
        assert (row.status, row.storage_key, row.recheck_at) == (CheckStatus.REJECTED, None, None)
        assert claim(each) is None
    with db.session() as session:
        kept = job_inputs.of_job(session, job)
        assert [(kept[id_].storage_key, kept[id_].sha256) for _, id_ in waiting] == before
        assert kept[teacher].meta == READY.meta


def test_the_same_verdict_again_keeps_nothing_aside(waiting: list[tuple[checks.Kind, str]]) -> None:
    for each in waiting:
        assert finish(claimed(each), READY)
        ask_again(each)
        assert claimed(each).attempt == 1
        assert claim(each) is None, "one worker is at it"


@pytest.mark.parametrize("first", [READY, REJECTED])
def test_a_check_made_again_that_finds_nothing_out_takes_nothing_away(
    waiting: list[tuple[checks.Kind, str]], first: IntakeResult
) -> None:
    for each in waiting:
        assert finish(claimed(each), first)
        before = read(each)
        for _ in range(2):
            ask_again(each)
            for _ in range(settings().check_max_attempts):
                claimed(each, lease_s=0.0)
            assert claim(each) is None
            after = read(each)
            assert (after.status, after.storage_key, after.meta) == (before.status, before.storage_key, before.meta)
            assert (after.recheck_at, after.lease_token, after.checked_at) == (None, None, before.checked_at)
            note, *rest = after.report["checks"]
            assert (note["id"], note["result"]) == ("check_crashed", "warn")
            assert "3 times" in note["detail"]
            assert {**after.report, "checks": rest} == before.report
        ask_again(each)
        held = claimed(each)
        with db.session() as session:
            assert checks.finish_check(session, held, REJECTED, None, found_out=False)
        assert read(each).status is before.status
        ask_again(each)
        assert finish(claimed(each), READY)
        assert read(each).report["checks"] == [], "what was found out takes the note's place"


def ask_again(each: tuple[checks.Kind, str]) -> None:
    kind, id_ = each
    with db.session() as session:
        row = session.get_one(checks.TABLES[kind], id_, with_for_update=True)
        assert isinstance(row, Teacher | Dataset)
        checks.request_recheck(session, row)

"""Checks made again by the real converter, and what they leave to jobs that were handed in before."""

from pathlib import Path

import pytest
import torch
from sqlalchemy import text

from core import checks, db, jobs
from core.settings import settings
from core.storage import storage
from models.canonical import RULES
from models.spec.job import JobSpec
from models.spec.students import MLP
from models.spec.teachers import TeacherSpec
from models.tables import Dataset, Teacher, Upload
from models.work import WorkOrder
from tests.worker.rows import Submit, claim
from worker.checks import check
from worker.collect import collect
from worker.devices import CPU
from worker.stage import Bench, read_inputs, stage
from worker.students import mlp


@pytest.fixture
def teacher(submit: Submit, tmp_path: Path) -> str:
    """A small teacher, checked, beside the data set of `submit`."""
    path = tmp_path / "teacher.pth"
    torch.save(mlp.build((4,), 2, hidden=[8]).state_dict(), path)
    stored = storage().put_file(path)
    with db.session() as session:
        row = {"id": "upl_B", "filename": "teacher.pth", "size": stored.size, "sha256": stored.sha256}
        session.add(Upload(**row, storage_key=stored.key))
        session.flush()
        id_ = checks.submit_teacher(session, "small", "upl_B", TeacherSpec(architecture=MLP(hidden=[8]))).id
    check("teachers", id_)
    assert read(id_).status == "ready"
    return id_


def read(teacher_id: str) -> Teacher:
    with db.session() as session:
        return session.get_one(Teacher, teacher_id)


def again(teacher_id: str) -> Teacher:
    """Ask for another verdict and make it."""
    with db.session() as session:
        checks.request_recheck(session, session.get_one(Teacher, teacher_id, with_for_update=True))
    check("teachers", teacher_id)
    assert read(teacher_id).recheck_at is None
    return read(teacher_id)


def queue(teacher_id: str) -> str:
    spec = {"teacher": teacher_id, "dataset": "dst_A", "student": {"type": "mlp"}, "loss": {"type": "kd", "T": 4}}
    with db.session() as session:
        return jobs.submit(session, JobSpec.model_validate(spec)).id


def test_a_verdict_by_older_rules_is_replaced_by_one_of_today(teacher: str) -> None:
    with db.session() as session:
        session.execute(
            text("UPDATE teachers SET report = jsonb_set(report, '{rules}', '0') WHERE id = :id"), {"id": teacher}
        )
    before, after = read(teacher), again(teacher)
    assert (before.report["rules"], after.report["rules"]) == (0, RULES)
    assert (after.status, after.sha256, after.meta) == ("ready", before.sha256, before.meta)
    assert before.checked_at is not None
    assert after.checked_at is not None
    assert after.checked_at > before.checked_at


def test_a_job_that_was_queued_reads_what_it_was_accepted_with(teacher: str, tmp_path: Path) -> None:
    accepted = read(teacher)
    assert accepted.storage_key is not None
    job = queue(teacher)
    with db.session() as session:  # the rules of today see another network in the same file
        session.execute(
            text("UPDATE teachers SET spec = jsonb_set(spec, '{architecture,hidden}', '[9]') WHERE id = :id"),
            {"id": teacher},
        )
    rejected = again(teacher)
    assert (rejected.status, rejected.report["checks"][-1]["id"]) == ("rejected", "does_not_fit")
    assert rejected.storage_key is None
    collect()
    folder = tmp_path / "staged"
    folder.mkdir()
    held = claim(job)
    stage(held, read_inputs(held), folder, Bench(CPU, 1), lambda: None)
    order = WorkOrder.model_validate_json((folder / "job.json").read_bytes())
    staged = order.teachers[teacher]
    assert staged.sha256 == accepted.sha256
    assert staged.meta.model_dump(mode="json") == accepted.meta
    assert (folder / staged.file).read_bytes() == b"".join(storage().read(accepted.storage_key))
    with db.session() as session:
        assert (folder / "data.safetensors").read_bytes() == b"rows"
        assert session.get_one(Dataset, "dst_A").sha256 == order.dataset_sha256


def test_a_check_that_reaches_a_limit_takes_nothing_away(teacher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(teacher)
    monkeypatch.setenv("DISTILLERY_CHECK_MAX_SECONDS", "1")
    settings.cache_clear()
    after = again(teacher)
    assert (after.status, after.sha256, after.checked_at) == ("ready", before.sha256, before.checked_at)
    assert (after.report["checks"][0]["id"], after.report["checks"][0]["result"]) == ("check_crashed", "warn")

"""What jobs took, and what the next one is expected to take from that."""

from typing import Any

import pytest
from sqlalchemy import select, text, update

from core import db, jobs, measurements
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.tables import Attempt, Dataset, Measurement, Teacher
from tests.core.conftest import Submit, spec

DATA: dict[str, Any] = {
    "task": "image_classification",
    "counts": {"train": 1000, "val": 10, "test": 10},
    "input_shape": [1, 8, 8],
    "num_outputs": 10,
}
TEACHER: dict[str, Any] = {
    "architecture": {"type": "mlp", "hidden": [256]},
    "input_shape": [1, 8, 8],
    "num_outputs": 10,
    "parameters": 20_000,
    "flops": 40_000,
}


def report(training_s: float, *, epochs: int = 10, flops: int = 2000) -> dict[str, Any]:
    return {
        "timings": {"checking": 0.5, "training": training_s, "evaluating": 0.5},
        "memory": {"peak_bytes": 300_000_000, "device_peak_bytes": None},
        "flops": {"student": flops},
        "last_epoch": epochs,
        "device": "a processor",
        "precision": {"student": "float32"},
    }


@pytest.fixture
def known(submit: Submit) -> Submit:
    """Teacher and data set as a check leaves them."""
    with db.session() as session:
        session.execute(update(Teacher).values(meta=TEACHER))
        session.execute(update(Dataset).values(meta=DATA))
    return submit


def succeed(job_id: str, ran_s: float, result: dict[str, Any]) -> None:
    with db.session() as session:
        claim = jobs.claim(session, worker="w", lease_s=60, job_id=job_id)
        assert claim is not None
        began = text(f"now() - interval '{ran_s} s'")
        session.execute(update(Attempt).where(Attempt.job_id == job_id).values(started_at=began))
        jobs.succeed(session, claim, result=result, artifacts=[], log="")


def wanted(epochs: int = 10, hidden: int = 8, **more: Any) -> JobSpec:
    told = spec().model_dump(mode="json")
    told |= {"student": {"type": "mlp", "hidden": [hidden]}, "train": {"epochs": epochs, "batch_size": 64}, **more}
    return JobSpec.model_validate(told).resolved()


def estimate(told: JobSpec, **data: Any) -> dict[str, Any]:
    with db.session() as session:
        return measurements.estimate(
            session, told, DatasetMeta.model_validate({**DATA, **data}), [TeacherMeta.model_validate(TEACHER)]
        )


def make(told: JobSpec) -> str:
    with db.session() as session:
        return jobs.submit(session, told).id


def measured() -> list[Measurement]:
    with db.session() as session:
        return list(session.scalars(select(Measurement)))


def test_nothing_is_told_before_anything_was_measured(known: Submit) -> None:
    told = estimate(wanted())
    assert (told["seconds"], told["memory_bytes"], told["basis"]) == (None, None, "none")
    assert "No job has ended" in told["reason"]


def test_what_a_job_took_is_kept(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    (row,) = measured()
    assert (row.rows, row.row_s, row.peak_bytes) == (10_000, 20.0 / 10_000, 300_000_000)
    assert row.other_s == pytest.approx(5, abs=0.5)
    assert row.row_flops == 40_000 + 3 * 2000 * (1 + wanted().train.control)


def test_the_same_work_is_scaled_by_rows_and_epochs(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    told = estimate(wanted(epochs=20), counts={"train": 2000, "val": 10, "test": 10})
    assert (told["basis"], told["measured"]) == ("same", 1)
    assert told["seconds"]["likely"] == pytest.approx(5 + 80, abs=1)
    assert told["seconds"]["low"] < told["seconds"]["likely"] < told["seconds"]["high"]
    assert told["memory_bytes"]["likely"] == 300_000_000


def test_a_seed_a_rate_or_a_priority_is_the_same_work_and_a_batch_is_not(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    same = {"epochs": 3, "batch_size": 64, "seed": 7, "optimizer": {"type": "sgd", "lr": 0.5}}
    assert estimate(wanted(train=same, priority="high", name="x"))["basis"] == "same"
    assert estimate(wanted(train={**same, "batch_size": 32}))["basis"] == "scaled"


def test_other_work_is_scaled_by_operations_with_a_wider_range(known: Submit) -> None:
    succeed(make(wanted(hidden=8)), 25, report(20.0, flops=2000))
    succeed(make(wanted(hidden=64)), 45, report(40.0, flops=14_000))
    same = estimate(wanted(hidden=64))
    scaled = estimate(wanted(hidden=64, loss={"type": "reverse_kl"}))
    assert (same["basis"], scaled["basis"]) == ("same", "scaled")
    spread = [told["seconds"]["high"] / told["seconds"]["low"] for told in (same, scaled)]
    assert spread[1] > spread[0]
    assert scaled["seconds"]["low"] < 45 < scaled["seconds"]["high"]


def test_a_student_that_was_never_seen_is_not_guessed(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    told = estimate(wanted(hidden=4096))
    assert (told["seconds"], told["basis"]) == (None, "none")
    assert "this student" in told["reason"]


@pytest.mark.parametrize("missing", ["timings", "memory", "last_epoch"])
def test_a_report_without_figures_is_not_kept_and_the_job_succeeds(known: Submit, missing: str) -> None:
    job_id = make(wanted())
    succeed(job_id, 25, {name: value for name, value in report(20.0).items() if name != missing})
    assert measured() == []
    with db.session() as session:
        assert session.scalar(text("SELECT status FROM jobs")) == "succeeded"


def test_a_job_that_was_tried_again_says_nothing_of_the_time(known: Submit) -> None:
    job_id = make(wanted())
    with db.session() as session:
        claim = jobs.claim(session, worker="w", lease_s=60, job_id=job_id)
        assert claim is not None
        jobs.stop(session, claim, outcome="drained", log="")
    succeed(job_id, 10, report(8.0))
    assert measured() == []


def test_what_was_measured_outlives_the_job(known: Submit) -> None:
    job_id = make(wanted())
    succeed(job_id, 25, report(20.0))
    with db.session() as session:
        jobs.delete(session, job_id)
    assert [row.job_id for row in measured()] == [job_id]

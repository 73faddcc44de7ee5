"""What jobs took, and what the next one is expected to take from that."""

from typing import Any

import pytest
from sqlalchemy import select, text, update

from core import db, fleet, jobs, measurements
from core.errors import Internal
from models.canonical import DatasetMeta, TeacherMeta
from models.counting import cost_of
from models.spec.job import JobSpec
from models.spec.students import MLP
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
    assert "This fleet is new" in told["reason"]


def test_what_a_job_took_is_kept(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    (row,) = measured()
    # 1000 rows in batches of 64 are 16 steps; the student and its control, ten epochs each.
    assert (row.steps, row.trained_s, row.peak_bytes) == (2 * 10 * 16, 20.0, 300_000_000)
    assert (row.kind, row.family, row.precision) == ("cpu", "mlp", "float32")
    assert row.other_s == pytest.approx(5, abs=0.5)
    student, teacher = (cost_of(MLP(hidden=[width]), (1, 8, 8), 10) for width in (8, 256))
    assert student is not None
    assert teacher is not None
    # The teacher is asked once about each row; validation is a forward pass.
    assert row.flops == 2 * 10 * (3 * 1000 + 10) * student.work + 1000 * teacher.work
    assert list(row.networks.values()) == [student.flops]


def test_the_same_work_is_scaled_by_rows_and_epochs(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    told = estimate(wanted(epochs=20), counts={"train": 2000, "val": 10, "test": 10})
    assert (told["basis"], told["measured"]) == ("measured", 1)
    # The teacher is asked once however many epochs there are: twice as many rows, twice as many epochs for the student.
    assert 5 + 2 * 20 < told["seconds"]["likely"] < 5 + 4 * 20
    assert told["seconds"]["low"] < told["seconds"]["likely"] < told["seconds"]["high"]
    assert told["memory_bytes"]["likely"] == 300_000_000


def test_a_seed_a_rate_or_a_priority_is_the_same_work_and_a_batch_is_not(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    same = {"epochs": 3, "batch_size": 64, "seed": 7, "optimizer": {"type": "sgd", "lr": 0.5}}
    assert estimate(wanted(train=same, priority="high", name="x"))["basis"] == "measured"
    assert estimate(wanted(train={**same, "batch_size": 32}))["basis"] == "scaled"


def test_other_work_is_scaled_by_operations_with_a_wider_range(known: Submit) -> None:
    succeed(make(wanted(hidden=8)), 25, report(20.0, flops=2000))
    succeed(make(wanted(hidden=64)), 45, report(40.0, flops=14_000))
    same = estimate(wanted(hidden=64))
    scaled = estimate(wanted(hidden=64, loss={"type": "reverse_kl"}))
    assert (same["basis"], scaled["basis"]) == ("measured", "scaled")
    spread = [told["seconds"]["high"] / told["seconds"]["low"] for told in (same, scaled)]
    assert spread[1] > spread[0]
    assert scaled["seconds"]["low"] < 45 < scaled["seconds"]["high"]


def test_a_student_that_was_never_seen_is_scaled_by_its_operations(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    told, larger = estimate(wanted(hidden=16)), estimate(wanted(hidden=4096))
    assert (told["basis"], larger["basis"]) == ("scaled", "scaled")
    assert told["seconds"]["likely"] < larger["seconds"]["likely"]
    assert told["memory_bytes"]["likely"] < larger["memory_bytes"]["likely"]
    assert "never measured" in told["reason"]
    spread = [each["seconds"]["high"] / each["seconds"]["low"] for each in (told, larger)]
    assert spread[1] > spread[0], "what is further from all that was measured may be further off"


def test_what_the_library_builds_is_known_once_it_has_run(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    library: dict[str, Any] = {"student": {"type": "timm", "name": "resnet18"}}
    told = estimate(wanted(**library))
    assert (told["seconds"], told["basis"]) == (None, "none")
    assert "the student `timm`" in told["reason"]
    succeed(make(wanted(**library)), 300, report(290.0, flops=10**9))
    assert estimate(wanted(**library, loss={"type": "reverse_kl"}))["basis"] == "scaled"


def test_all_lessons_count(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))

    def likely(**more: Any) -> float:
        told = estimate(wanted(**more))
        assert told["basis"] == "scaled"
        return float(told["seconds"]["likely"])

    one, three = (likely(teacher={"type": "born_again", "generations": n}, epochs=200) for n in (2, 6))
    assert three > 2 * one
    alone = {"epochs": 200, "batch_size": 64, "control": False}
    plain = likely(train=alone)
    assert likely(train=alone, assistants=[{"student": {"type": "mlp", "hidden": [512]}}]) > 1.5 * plain
    assert likely(train={**alone, "control": True}, loss={"type": "reverse_kl"}) > 1.5 * plain


def test_only_what_was_measured_on_devices_of_the_fleet_counts(known: Submit) -> None:
    succeed(make(wanted()), 25, report(20.0))
    with db.session() as session:
        fleet.show(session, "w", [{"name": "gpu0", "kind": "cuda"}], 60)
    told = estimate(wanted())
    assert told["basis"] == "none"
    assert "cuda" in told["reason"]
    with db.session() as session:
        fleet.show(session, "v", [{"name": "cpu", "kind": "cpu"}], 60)
    assert estimate(wanted())["basis"] == "measured"


def test_a_retry_is_estimated_of_what_its_checkpoint_leaves(known: Submit) -> None:
    succeed(make(wanted(epochs=100)), 205, report(200.0, epochs=100))
    job_id = make(wanted(epochs=100))
    with db.session() as session:
        claim = jobs.claim(session, worker="w", lease_s=60, job_id=job_id)
        assert claim is not None
        jobs.record(session, claim, [], checkpoint={"key": "k", "step": 800, "percent": 75.0})
        jobs.fail(session, claim, Internal("broken"), exit_code=1, log="")
        again, rest = (jobs.retry(session, job_id, from_).estimate for from_ in ("start", "checkpoint"))
    assert again is not None
    assert rest is not None
    assert (again["basis"], rest["basis"]) == ("measured", "measured")
    assert again["seconds"]["likely"] == pytest.approx(205, abs=1)
    assert rest["seconds"]["likely"] == pytest.approx(5 + 200 / 4, abs=3)
    assert "25 %" in rest["reason"]


def test_early_stopping_may_end_it_sooner(known: Submit) -> None:
    succeed(make(wanted(epochs=100)), 205, report(200.0, epochs=100))
    train = {"epochs": 100, "batch_size": 64}
    told, stopped = (
        estimate(wanted(train={**train, **more}))["seconds"] for more in ({}, {"early_stopping": {"patience": 9}})
    )
    assert stopped["high"] == told["high"]
    assert stopped["low"] < told["low"] / 4


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

"""What a job names in whatever part of its `teacher` stays for as long as the job does."""

from typing import Any

import httpx
import pytest

from core import db
from models.spec.job import JobSpec
from models.tables import JobOutputs, JobTeacher
from tests.api.made import IMAGES, Made, problem

OUTPUTS: dict[str, Any] = {"task": "teacher_outputs", "num_rows": 10, "num_outputs": 3, "classes": [], "last_row": 9}


def _named(job: str) -> tuple[list[str], list[str]]:
    """Teachers and data sets of outputs that the job's rows name, in order."""
    with db.session() as session:
        teachers = session.query(JobTeacher).filter_by(job_id=job).order_by(JobTeacher.place)
        outputs = session.query(JobOutputs).filter_by(job_id=job).order_by(JobOutputs.place)
        return [row.teacher_id for row in teachers], [row.dataset_id for row in outputs]


def test_every_member_of_an_ensemble_stays(api: httpx.Client, made: Made) -> None:
    first, second, given = made.teacher(), made.teacher(), made.dataset(OUTPUTS)
    members = [second, {"type": "outputs", "dataset": given}, first]
    job = made.job(teacher={"type": "ensemble", "teachers": members})
    assert _named(job) == ([second, first], [given])
    paths = [f"/teachers/{first}", f"/teachers/{second}", f"/datasets/{given}"]
    for path in paths:
        assert job in problem(api.delete(path), 409, "in_use")["detail"]
    api.post(f"/jobs/{job}/cancel")
    again = api.post(f"/jobs/{job}/retry", json={"from": "start"}).json()["id"]
    assert _named(again) == _named(job)
    assert api.post(f"/jobs/{again}/cancel").status_code == 202
    for path in paths:
        assert "2 jobs" in problem(api.delete(path), 409, "in_use")["detail"]
    for gone in (job, again):
        assert api.delete(f"/jobs/{gone}").status_code == 204
    for path in paths:
        assert api.delete(path).status_code == 204


@pytest.mark.parametrize("way", [{"type": "ema"}, {"type": "born_again"}, {"type": "snapshot", "every": 2}])
def test_a_job_may_name_no_teacher(made: Made, way: dict[str, Any]) -> None:
    assert _named(made.job(teacher=way)) == ([], [])


def test_samples_and_given_outputs_of_a_job_are_both_in_use(api: httpx.Client, made: Made) -> None:
    data, given = made.dataset(IMAGES), made.dataset(OUTPUTS)
    job = made.job(teacher={"type": "outputs", "dataset": given}, dataset=data)
    for held in (data, given):
        assert f"1 job ({job})" in problem(api.delete(f"/datasets/{held}"), 409, "in_use")["detail"]
    spec = JobSpec.model_validate(api.get(f"/jobs/{job}").json()["spec"])
    assert (spec.dataset, spec.teacher.output_ids()) == (data, [given])

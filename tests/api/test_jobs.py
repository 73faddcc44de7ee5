"""Jobs over HTTP: made once, listed, polled, steered; and every bad one refused with nothing stored."""

from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from api import job_tags
from core import db
from models.tables import Event, IdempotencyKey, Job
from tests.api.made import IMAGES, MLP, RESNET, TABLE, Made, claim, problem, record, succeed


def stored() -> list[int]:
    """How many rows there are of all that a job is stored in."""
    with db.session() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in (Job, Event, IdempotencyKey)]


def test_the_smallest_job_is_stored_with_every_default(api: httpx.Client, made: Made) -> None:
    body = made.body()
    answer = api.post("/jobs", json=body)
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["is_terminal"], job["queue"]["position"]) == ("queued", False, 1)
    assert (job["attempt"], job["error"], job["result"], job["artifacts"]) == (0, None, None, [])
    assert job["spec"]["teacher"] == {"type": "stored", "id": body["teacher"], "classes": "same"}
    assert job["spec"]["loss"] == [{"type": "kd", "T": 4.0, "standardize": False, "weight": 0.9, "teacher": None}]
    assert job["spec"]["hard"] == 0.1
    assert job["spec"]["train"]["batch_size"] == 100  # all the rows there are, where the default would be more
    assert job["spec"]["train"]["epochs"] == 30
    assert set(job["progress"]) >= {"epoch", "epochs", "step", "steps", "percent", "eta_s", "samples_per_s", "metrics"}
    assert stored() == [1, 1, 0]


def test_temperature_has_two_spellings(api: httpx.Client, made: Made) -> None:
    job = api.post("/jobs", json=made.body(loss={"type": "kd", "temperature": 2})).json()
    assert job["spec"]["loss"][0]["T"] == 2


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"loss": {"type": "kd", "T": 0}}, "invalid", "/loss/T"),
    ({"loss": [{"type": "kd", "temperature": -1}]}, "invalid", "/loss/0/temperature"),
    ({"loss": {"type": "dkdd"}}, "invalid", "/loss/type"),
    ({"loss": {"type": "kd", "alpha": 0.9}}, "invalid", "/loss/alpha"),
    ({"student": {"type": "resnett", "depth": 8}}, "invalid", "/student/type"),
    ({"student": {"type": "resnet", "depth": 9}}, "invalid", "/student"),
    ({"teacher": "tch_none"}, "unknown_teacher", "/teacher"),
    ({"dataset": "dst_none"}, "unknown_dataset", "/dataset"),
    ({"teacher": "dst_1"}, "invalid", "/teacher"),
    ({"train": {"batch_size": 101}}, "batch_too_large", "/train/batch_size"),
    (
        {"loss": [{"type": "hint", "taps": [{"student": "layer3", "teacher": "layer9"}]}]},
        "unknown_tap",
        "/loss/0/taps/0/teacher",
    ),
    (
        {"loss": {"type": "hint", "taps": [{"student": "stage9", "teacher": "layer1"}]}},
        "unknown_tap",
        "/loss/taps/0/student",
    ),
]


@pytest.mark.parametrize(("changes", "code", "pointer"), BAD)
def test_a_bad_job_is_refused_at_its_field_and_not_stored(
    api: httpx.Client, made: Made, changes: dict[str, Any], code: str, pointer: str
) -> None:
    body = made.body(**changes)
    problem(api.post("/jobs", json=body, headers={"Idempotency-Key": "k"}), 422, code, pointer)
    assert stored() == [0, 0, 0]
    told = api.post("/jobs/validate", json=body).json()
    assert (told["valid"], told["resolved"]) == (False, None)
    assert [(fault["code"], fault["pointer"]) for fault in told["problems"]] == [(code, pointer)]


def test_text_that_the_database_cannot_hold(api: httpx.Client, made: Made) -> None:
    body = made.body(labels={"team": "a\x00b"})
    for path in ("/jobs", "/jobs/validate"):
        problem(api.post(path, json=body), 422, "invalid", "/labels/team")


def test_an_unknown_loss_lists_the_menu(api: httpx.Client, made: Made) -> None:
    body = problem(api.post("/jobs", json=made.body(loss={"type": "dk"})), 422, "invalid", "/loss/type")
    offered = [entry["type"] for entry in api.get("/catalog/losses").json()["items"]]
    assert all(name in body["detail"] for name in offered)


REGRESSION = {**TABLE, "task": "tabular_regression", "num_outputs": 1, "classes": []}
RESNET_8, PERCEPTRON = {"type": "resnet", "depth": 8}, {"type": "mlp"}


@pytest.mark.parametrize(
    ("parts", "code", "pointer"),
    [
        (({**RESNET, "num_outputs": 5}, IMAGES, RESNET_8), "class_count_differs", "/teacher"),
        (({**RESNET, "classes": ["dog", "cat", "fox"]}, IMAGES, RESNET_8), "classes_differ", "/teacher"),
        (({**RESNET, "input_shape": [1, -1, -1]}, IMAGES, RESNET_8), "input_differs", "/teacher"),
        (({**MLP, "input_shape": [9]}, TABLE, PERCEPTRON), "input_differs", "/teacher"),
        ((MLP, TABLE, RESNET_8), "student_not_for_data", "/student/type"),
        (({**MLP, "num_outputs": 1}, REGRESSION, PERCEPTRON), "loss_not_for_task", "/loss/type"),
    ],
)
def test_parts_that_do_not_fit_each_other(
    api: httpx.Client, made: Made, parts: tuple[dict[str, Any], ...], code: str, pointer: str
) -> None:
    teacher, data, student = parts
    body = made.body(teacher=made.teacher(teacher), dataset=made.dataset(data), student=student)
    problem(api.post("/jobs", json=body), 422, code, pointer)
    assert stored() == [0, 0, 0]


def test_features_and_relations_go_across_class_sets(api: httpx.Client, made: Made) -> None:
    teacher = made.teacher({**RESNET, "num_outputs": 5})
    answer = api.post("/jobs", json=made.body(teacher=teacher, loss=[{"type": "similarity"}, {"type": "hint"}]))
    assert answer.status_code == 201, answer.text


def test_parts_that_are_still_being_checked(api: httpx.Client, made: Made) -> None:
    body = made.body(dataset=made.checking("datasets"))
    problem(api.post("/jobs", json=body), 409, "not_ready", "/dataset")
    both = {**body, "teacher": {"type": "stored", "id": made.checking("teachers")}}
    problem(api.post("/jobs", json=both), 409, "not_ready", "/teacher/id", "/dataset")
    assert stored() == [0, 0, 0]


def test_a_rejected_teacher(api: httpx.Client, made: Made) -> None:
    body = made.body(teacher=made.rejected("teachers", "Keys are missing: fc.weight"))
    refused = problem(api.post("/jobs", json=body), 422, "teacher_rejected", "/teacher")
    assert "fc.weight" in refused["detail"]


def test_several_faults_are_told_at_once(api: httpx.Client, made: Made) -> None:
    body = made.body(student={"type": "mlp"}, train={"batch_size": 500}, teacher="tch_none")
    problem(api.post("/jobs", json=body), 422, "invalid", "/teacher", "/train/batch_size")


def test_validate_shows_what_would_run_and_makes_nothing(api: httpx.Client, made: Made) -> None:
    body = made.body(loss=[{"type": "similarity"}])
    told = api.post("/jobs/validate", json=body).json()
    assert (told["valid"], told["problems"], told["estimate"]["basis"]) == (True, [], "none")
    assert told["resolved"]["hard"] == 1.0
    assert stored() == [0, 0, 0]
    assert api.post("/jobs", json=body).json()["spec"] == told["resolved"]


@pytest.mark.parametrize("body", [[], "x", None, 5, {}])
def test_validate_takes_any_json(api: httpx.Client, body: Any) -> None:
    answer = api.post("/jobs/validate", json=body)
    assert answer.status_code in {200, 422}
    assert answer.status_code == 422 or answer.json()["valid"] is False


def test_jobs_are_listed_by_state_and_label(api: httpx.Client, made: Made) -> None:
    body = made.body()
    first = api.post("/jobs", json={**body, "labels": {"team": "vision", "run": "1"}}).json()["id"]
    second = api.post("/jobs", json={**body, "labels": {"team": "audio"}}).json()["id"]
    api.post(f"/jobs/{first}/cancel")

    def ids(query: str) -> list[str]:
        return [job["id"] for job in api.get(f"/jobs?{query}").json()["items"]]

    assert ids("") == [second, first]
    assert ids("status=queued") == [second]
    assert ids("status=queued&status=cancelled") == [second, first]
    assert ids("label=team:vision") == [first]
    assert ids("label=team=vision&label=run:1") == [first]
    assert ids("label=team:vision&label=run:2") == []
    problem(api.get("/jobs?status=done"), 422, "invalid", "?status")
    problem(api.get("/jobs?label=team"), 422, "invalid", "?label")
    problem(api.get("/jobs?label=team:%00"), 422, "invalid", "?label")


def test_pages_of_jobs_and_their_places_in_the_queue(api: httpx.Client, made: Made) -> None:
    body = made.body()
    ids = [api.post("/jobs", json=body).json()["id"] for _ in range(3)]
    page = api.get("/jobs?limit=2").json()
    assert [(job["id"], job["queue"]["position"]) for job in page["items"]] == [(ids[2], 3), (ids[1], 2)]
    rest = api.get("/jobs", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in rest["items"]] == [ids[0]]
    assert rest["next_cursor"] is None


def test_polling_is_cheap_until_something_changes(api: httpx.Client, made: Made) -> None:
    body = made.body()
    api.post("/jobs", json=body)
    job = api.post("/jobs", json=body).json()["id"]
    etag = api.get(f"/jobs/{job}").headers["etag"]
    assert api.get(f"/jobs/{job}", headers={"If-None-Match": etag}).status_code == 304
    claim(api.get("/jobs").json()["items"][1]["id"])  # the one before it starts: this one is next
    moved = api.get(f"/jobs/{job}", headers={"If-None-Match": etag})
    assert (moved.status_code, moved.json()["queue"]["position"]) == (200, 1)


def test_the_tag_of_a_poll_is_the_tag_of_the_answer_and_follows_every_change(api: httpx.Client, made: Made) -> None:
    first = made.job()
    succeed(claim(first))
    job = api.post(f"/jobs/{first}/retry").json()["id"]
    seen = []

    def look() -> None:
        """A whole answer has the tag that a poll asks for, and one that no earlier answer had."""
        etag = api.get(f"/jobs/{job}").headers["etag"]
        assert etag == job_tags.stored_tag("local", job)
        assert api.get(f"/jobs/{job}", headers={"If-None-Match": etag}).status_code == 304
        assert etag not in seen
        seen.append(etag)

    look()
    claimed = claim(job)
    look()
    record(claimed, ("progress", {"step": 1}), phase="training", progress={"step": 1})
    look()
    succeed(claimed)
    look()
    assert api.delete(f"/jobs/{first}").status_code == 204  # what this one is a retry of is gone from its answer
    look()
    assert job_tags.stored_tag("local", "job_0") is None
    assert job_tags.stored_tag("local", "\x00") is None
    problem(api.get("/jobs/job_0", headers={"If-None-Match": seen[0]}), 404, "not_found")


def test_places_in_the_queue_are_counted_to_a_thousand(api: httpx.Client, made: Made) -> None:
    first = made.job()
    columns = ", ".join(column.name for column in Job.__table__.columns if column.name not in {"id", "queued_at"})
    with db.session() as session:
        session.execute(text("UPDATE jobs SET queued_at = queued_at - interval '1 h'"))
        session.execute(
            text(
                f"INSERT INTO jobs (id, queued_at, {columns}) "
                f"SELECT 'job_' || n, queued_at + n * interval '1 s', {columns} FROM jobs, generate_series(1, 1100) n"
            )
        )
    places = {
        job: api.get(f"/jobs/{job}").json()["queue"]["position"] for job in (first, "job_1", "job_998", "job_1099")
    }
    assert places == {first: 1, "job_1": 2, "job_998": 999, "job_1099": 1000}
    assert all(api.get(f"/jobs/{job}").headers["etag"] == job_tags.stored_tag("local", job) for job in places)
    listed = api.get("/jobs?limit=200").json()["items"]
    assert {job["queue"]["position"] for job in listed} >= {1000}


def test_a_running_job_shows_phase_and_progress(api: httpx.Client, made: Made) -> None:
    job = made.job()
    progress = {"epoch": 2, "epochs": 30, "step": 5, "steps": 90, "percent": 5.5, "metrics": {"accuracy": 0.5}}
    record(claim(job), ("progress", progress), phase="training", progress=progress)
    view = api.get(f"/jobs/{job}").json()
    assert (view["status"], view["phase"], view["attempt"], view["queue"]) == ("running", "training", 1, None)
    assert view["progress"]["percent"] == 5.5
    assert view["started_at"]


def test_cancel_pause_and_resume(api: httpx.Client, made: Made) -> None:
    job = made.job()
    for wish, status in [("pause", "paused"), ("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")]:
        answer = api.post(f"/jobs/{job}/{wish}")
        assert (answer.status_code, answer.json()["status"]) == (202, status)
    assert api.post(f"/jobs/{job}/cancel").status_code == 202  # again: the same
    refused = problem(api.post(f"/jobs/{job}/pause"), 409, "job_cancelled")
    assert "cancelled" in refused["detail"]


def test_a_running_job_is_asked_to_stop(api: httpx.Client, made: Made) -> None:
    job = made.job()
    claim(job)
    assert api.post(f"/jobs/{job}/cancel").json()["status"] == "cancelling"
    problem(api.delete(f"/jobs/{job}"), 409, "conflict")


def test_a_retry_is_a_new_job(api: httpx.Client, made: Made) -> None:
    job = made.job(name="mine")
    problem(api.post(f"/jobs/{job}/retry"), 409, "conflict")
    api.post(f"/jobs/{job}/cancel")
    answer = api.post(f"/jobs/{job}/retry")
    new = answer.json()
    assert (answer.status_code, new["retry_of"], new["status"]) == (201, job, "queued")
    assert answer.headers["location"] == f"/jobs/{new['id']}"
    assert new["spec"] == api.get(f"/jobs/{job}").json()["spec"]
    assert new["estimate"]["basis"] == "none"
    assert "This fleet is new" in new["estimate"]["reason"]
    assert api.get(f"/jobs/{job}").json()["status"] == "cancelled"
    problem(api.post(f"/jobs/{job}/retry", json={"from": "checkpoint"}), 409, "conflict")
    problem(api.post(f"/jobs/{job}/retry", json={"from": "middle"}), 422, "invalid", "/from")
    problem(api.post(f"/jobs/{job}/retry", json={"form": "start"}), 422, "invalid", "/form")


def test_a_job_that_has_ended_can_be_deleted_with_its_files(api: httpx.Client, made: Made) -> None:
    job = made.job()
    problem(api.delete(f"/jobs/{job}"), 409, "conflict")
    succeed(claim(job), student_pth=b"weights")
    assert api.delete(f"/jobs/{job}").status_code == 204
    problem(api.get(f"/jobs/{job}"), 404, "not_found")
    assert stored() == [0, 0, 0]


@pytest.mark.parametrize("path", ["", "/events", "/metrics", "/logs", "/artifacts", "/artifacts/x", "/student.pth"])
@pytest.mark.parametrize("job", ["job_none", "%00", "tch_1", "job_'--"])
def test_there_is_no_such_job(api: httpx.Client, job: str, path: str) -> None:
    problem(api.get(f"/jobs/{job}{path}"), 404, "not_found")


@pytest.mark.parametrize("wish", ["cancel", "pause", "resume", "retry"])
def test_there_is_no_such_job_to_steer(api: httpx.Client, wish: str) -> None:
    problem(api.post(f"/jobs/job_none/{wish}"), 404, "not_found")

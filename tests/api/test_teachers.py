"""Teachers and data sets: made of an upload, checked, listed, deleted."""

from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from core import db
from core.checks import Kind
from models.tables import Dataset, Teacher
from tests.api.made import RESNET, Made, gone, problem

KINDS = pytest.mark.parametrize("kind", ["teachers", "datasets"])
REST: dict[str, dict[str, Any]] = {
    "teachers": {"architecture": {"type": "resnet", "depth": 20}},
    "datasets": {"task": "image_classification"},
}


def count(kind: Kind) -> int:
    with db.session() as session:
        return session.scalar(select(func.count()).select_from(Teacher if kind == "teachers" else Dataset)) or 0


@KINDS
def test_it_is_checking_until_a_worker_has_answered(api: httpx.Client, made: Made, kind: Kind) -> None:
    upload = made.upload()
    answer = api.post(f"/{kind}", json={"name": "mine", "upload": upload, **REST[kind]})
    assert answer.status_code == 201
    thing = answer.json()
    assert (thing["name"], thing["upload"], thing["status"]) == ("mine", upload, "checking")
    assert thing["report"] == {"checks": [], "rules": None, "tools": {}, "outdated": False}
    assert thing["is_rechecking"] is False
    assert answer.headers["location"] == f"/{kind}/{thing['id']}"
    assert api.get(answer.headers["location"]).json() == thing


@KINDS
def test_its_spec_is_kept_with_every_default(api: httpx.Client, made: Made, kind: Kind) -> None:
    spec = api.get(f"/{kind}/{made.checking(kind)}").json()["spec"]
    assert spec["input" if kind == "teachers" else "split"]
    assert "upload" not in spec


def test_a_ready_teacher_shows_its_report(api: httpx.Client, made: Made) -> None:
    teacher = api.get(f"/teachers/{made.teacher(RESNET)}").json()
    assert teacher["status"] == "ready"
    assert teacher["report"]["checks"] == [{"id": "file", "result": "pass", "detail": "It opens"}]
    assert teacher["report"]["parameters"] == 1
    assert len(teacher["sha256"]) == 64
    assert teacher["checked_at"]


def test_a_rejected_data_set_says_why(api: httpx.Client, made: Made) -> None:
    dataset = api.get(f"/datasets/{made.rejected('datasets', 'The zip is cut off')}").json()
    assert dataset["status"] == "rejected"
    assert dataset["report"]["checks"][0]["detail"] == "The zip is cut off"


@KINDS
def test_an_unknown_upload_makes_nothing(api: httpx.Client, kind: Kind) -> None:
    answer = api.post(f"/{kind}", json={"name": "x", "upload": "upl_none", **REST[kind]})
    problem(answer, 422, "unknown_upload", "/upload")
    assert count(kind) == 0


@pytest.mark.parametrize(
    ("kind", "changes", "pointer"),
    [
        ("teachers", {"architecture": {"type": "resnt"}}, "/architecture/type"),
        ("teachers", {"architecture": {"type": "resnet", "depth": 21}}, "/architecture"),
        ("teachers", {"input": {"preset": "imagnet"}}, "/input/preset"),
        ("teachers", {"input": {"std": [0]}}, "/input/std/0"),
        ("teachers", {"name": ""}, "/name"),
        ("datasets", {"task": "images"}, "/task"),
        ("datasets", {"split": {"val": 0.6, "test": 0.6}}, "/split"),
        ("datasets", {"table": {"target": "a\x00b"}}, "/table/target"),
        ("datasets", {"upload": "file.zip"}, "/upload"),
        ("datasets", {"formt": "csv"}, "/formt"),
    ],
)
def test_what_cannot_work_is_refused_at_its_field(
    api: httpx.Client, made: Made, kind: Kind, changes: dict[str, Any], pointer: str
) -> None:
    body = {"name": "x", "upload": made.upload(), **REST[kind], **changes}
    problem(api.post(f"/{kind}", json=body), 422, "invalid", pointer)
    assert count(kind) == 0


def test_an_unknown_architecture_lists_those_there_are(api: httpx.Client, made: Made) -> None:
    body = {"name": "x", "upload": made.upload(), "architecture": {"type": "resnt"}}
    message = problem(api.post("/teachers", json=body), 422, "invalid", "/architecture/type")["errors"][0]["message"]
    assert "did you mean `resnet`?" in message
    assert "onnx" in message


@KINDS
def test_pages_go_from_the_newest_to_the_oldest(api: httpx.Client, made: Made, kind: Kind) -> None:
    ids = [made.checking(kind) for _ in range(5)]
    first = api.get(f"/{kind}?limit=2").json()
    made.checking(kind)  # what is new does not shift the pages that follow
    second = api.get(f"/{kind}", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    third = api.get(f"/{kind}", params={"limit": 2, "cursor": second["next_cursor"]}).json()
    seen = [item["id"] for part in (first, second, third) for item in part["items"]]
    assert seen == ids[::-1]
    assert third["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["x", "e30", "WzEsMl0", "W251bGwsIngiXQ", "%00"])
def test_a_cursor_of_another_make(api: httpx.Client, cursor: str) -> None:
    problem(api.get(f"/teachers?cursor={cursor}"), 422, "invalid", "?cursor")


def test_limits_have_bounds(api: httpx.Client) -> None:
    problem(api.get("/teachers?limit=0"), 422, "invalid", "?limit")
    problem(api.get("/datasets?limit=9999"), 422, "invalid", "?limit")


@KINDS
def test_polling_costs_nothing_until_it_changes(api: httpx.Client, made: Made, kind: Kind) -> None:
    path = f"/{kind}/{made.checking(kind)}"
    etag = api.get(path).headers["etag"]
    unchanged = api.get(path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@KINDS
def test_what_no_job_names_can_be_deleted(api: httpx.Client, made: Made, kind: Kind) -> None:
    path = f"/{kind}/{made.checking(kind)}"
    gone(api.delete(path))
    problem(api.get(path), 404, "not_found")
    problem(api.delete(path), 404, "not_found")


def test_what_a_job_names_stays(api: httpx.Client, made: Made) -> None:
    body = made.body()
    job = api.post("/jobs", json=body).json()["id"]
    for path in (f"/teachers/{body['teacher']}", f"/datasets/{body['dataset']}"):
        assert job in problem(api.delete(path), 409, "in_use")["detail"]
        assert api.get(path).status_code == 200
    api.post(f"/jobs/{job}/cancel")
    assert "which have ended" in problem(api.delete(f"/teachers/{body['teacher']}"), 409, "in_use")["detail"]
    gone(api.delete(f"/jobs/{job}"))
    gone(api.delete(f"/teachers/{body['teacher']}"))

"""If-Match: done to the version that was seen, or not at all; If-None-Match: nothing is sent twice."""

import httpx
import pytest

from core.checks import Kind
from core.storage import storage
from tests.api.made import RESNET, Made, claim, problem, record


def test_a_job_is_steered_in_the_version_that_was_seen(api: httpx.Client, made: Made) -> None:
    job = made.job()
    seen = api.get(f"/jobs/{job}").headers["etag"]
    record(claim(job), ("progress", {"step": 1}))
    for wish in ("cancel", "pause", "resume", "retry"):
        problem(api.post(f"/jobs/{job}/{wish}", headers={"If-Match": seen}), 412, "precondition_failed")
    assert api.get(f"/jobs/{job}").json()["status"] == "running"
    current = api.get(f"/jobs/{job}").headers["etag"]
    problem(api.post(f"/jobs/{job}/cancel", headers={"If-Match": f"W/{current}"}), 412, "precondition_failed")
    cancelled = api.post(f"/jobs/{job}/cancel", headers={"If-Match": f'"other", {current}'})
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelling")
    assert cancelled.headers["etag"] == api.get(f"/jobs/{job}").headers["etag"]


def test_a_place_in_the_queue_that_others_change_does_not_count(api: httpx.Client, made: Made) -> None:
    body = made.body()
    first, second = (api.post("/jobs", json=body).json()["id"] for _ in range(2))
    seen = api.get(f"/jobs/{second}").headers["etag"]
    claim(first)
    assert api.get(f"/jobs/{second}").headers["etag"] != seen
    assert api.post(f"/jobs/{second}/pause", headers={"If-Match": seen}).status_code == 202


def test_a_job_is_deleted_in_the_version_that_was_seen(api: httpx.Client, made: Made) -> None:
    job = made.job()
    seen = api.get(f"/jobs/{job}").headers["etag"]
    current = api.post(f"/jobs/{job}/cancel", headers={"If-Match": "*"}).headers["etag"]
    problem(api.delete(f"/jobs/{job}", headers={"If-Match": seen}), 412, "precondition_failed")
    assert api.delete(f"/jobs/{job}", headers={"If-Match": current}).status_code == 204
    problem(api.delete(f"/jobs/{job}", headers={"If-Match": "*"}), 404, "not_found")


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
def test_teachers_and_data_sets_are_deleted_in_the_version_that_was_seen(
    api: httpx.Client, made: Made, kind: Kind
) -> None:
    path = f"/{kind}/{made.rejected(kind, 'no')}"
    seen = api.get(path).headers["etag"]
    checking = api.post(f"{path}/recheck", headers={"If-Match": seen})
    assert checking.status_code == 202
    problem(api.delete(path, headers={"If-Match": seen}), 412, "precondition_failed")
    problem(api.post(f"{path}/recheck", headers={"If-Match": seen}), 412, "precondition_failed")
    assert api.delete(path, headers={"If-Match": checking.headers["etag"]}).status_code == 204


def test_an_upload_is_not_sent_twice(api: httpx.Client, made: Made) -> None:
    path = f"/uploads/{made.upload()}"
    seen = api.get(path).headers["etag"]
    for given in (seen, f"W/{seen}", f'"x", {seen}', "*"):
        assert api.get(path, headers={"If-None-Match": given}).status_code == 304, given
    assert api.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    problem(api.get(path, headers={"If-Match": f"W/{seen}"}), 412, "precondition_failed")


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
def test_a_verdict_can_be_made_again(api: httpx.Client, made: Made, kind: Kind) -> None:
    path = f"/{kind}/{made.teacher() if kind == 'teachers' else made.dataset()}"
    before = api.get(path).json()
    assert (before["status"], before["is_rechecking"], before["report"]["outdated"]) == ("ready", False, False)
    answer = api.post(f"{path}/recheck")
    assert answer.status_code == 202
    assert answer.json() == {**before, "is_rechecking": True} == api.get(path).json()
    assert api.post(f"{path}/recheck").json() == answer.json()


def test_a_thing_that_is_being_checked_again_can_be_used(api: httpx.Client, made: Made) -> None:
    teacher = made.teacher(RESNET)
    api.post(f"/teachers/{teacher}/recheck")
    assert api.get(f"/jobs/{made.job(teacher=teacher)}").json()["status"] == "queued"


def test_a_file_that_is_gone_cannot_be_checked_again(api: httpx.Client, made: Made) -> None:
    teacher = made.teacher()
    upload = api.get(f"/uploads/{api.get(f'/teachers/{teacher}').json()['upload']}").json()
    storage().delete(f"blobs/{upload['sha256'][:2]}/{upload['sha256']}")
    problem(api.post(f"/teachers/{teacher}/recheck"), 409, "upload_gone")
    problem(api.post("/teachers/tch_none/recheck"), 404, "not_found")

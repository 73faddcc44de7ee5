"""Over every route and verb: an owner neither reads, lists, changes nor learns of what another has.

The routes are the application's own list. One that is not in the tables below fails the first test.
"""

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api import gate
from api.main import create_app
from core import db, leftovers
from models.roles import Role
from models.tables import Upload
from tests.api.conftest import Doors
from tests.api.made import Made, claim, record, succeed

TUS = {"Tus-Resumable": "1.0.0"}
#: Routes that say the same to everyone, key or no key.
OPEN = {
    *(("GET", f"/catalog/{menu}") for menu in ("losses", "regimes", "students", "tasks", "formats", "exports")),
    *(("GET", path) for path in ("/", "/docs", "/docs/start.js", "/docs/errors", "/healthz", "/readyz")),
    # Its examples name what the caller has, which a test of its own looks at.
    ("GET", "/openapi.json"),
    ("OPTIONS", "/uploads/resumable"),
    ("OPTIONS", "/uploads/resumable/{upload_id}"),
}
#: For the role `admin`, whose bearers run the service.
ADMIN = {("GET", "/metrics"), ("GET", "/keys"), ("POST", "/keys"), ("DELETE", "/keys/{key_id}")}
LISTS = {("GET", path) for path in ("/jobs", "/teachers", "/datasets", "/webhooks")}
#: What makes things of nothing that another might have.
MAKES = {("POST", "/uploads"), ("POST", "/uploads/resumable"), ("POST", "/webhooks")}
#: What makes things of others, named in the body: the ids of which are those of parameters.
NAMES: dict[tuple[str, str], Any] = {
    ("POST", "/teachers"): {"name": "t", "upload": "{upload_id}", "architecture": {"type": "resnet", "depth": 20}},
    ("POST", "/datasets"): {"name": "d", "upload": "{upload_id}", "task": "image_classification"},
    ("POST", "/jobs"): {
        "teacher": "{teacher_id}",
        "dataset": "{dataset_id}",
        "student": {"type": "resnet", "depth": 8},
        "loss": {"type": "kd"},
    },
}
NAMES["POST", "/jobs/validate"] = NAMES["POST", "/jobs"]
#: What a route about one thing is sent, where it is sent anything.
SENT: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/jobs/{job_id}/retry"): {"json": {"from": "start"}},
    ("PATCH", "/webhooks/{webhook_id}"): {"json": {"description": "mine now"}},
    ("HEAD", "/uploads/resumable/{upload_id}"): {"headers": TUS},
    ("DELETE", "/uploads/resumable/{upload_id}"): {"headers": TUS},
    ("PATCH", "/uploads/resumable/{upload_id}"): {
        "headers": {**TUS, "Upload-Offset": "3", "Content-Type": "application/offset+octet-stream"},
        "content": b"more",
    },
}
THINGS = {
    *(("GET", f"/jobs/{{job_id}}{rest}") for rest in ("", "/events", "/metrics", "/logs", "/artifacts")),
    *((method, "/jobs/{job_id}/artifacts/{name}") for method in ("GET", "HEAD")),
    *((method, "/jobs/{job_id}/student.pth") for method in ("GET", "HEAD")),
    *(("POST", f"/jobs/{{job_id}}/{wish}") for wish in ("cancel", "pause", "resume", "retry")),
    *(("GET", path) for path in ("/teachers/{teacher_id}", "/datasets/{dataset_id}", "/uploads/{upload_id}")),
    *(("POST", f"/{kind}/recheck") for kind in ("teachers/{teacher_id}", "datasets/{dataset_id}")),
    *((method, "/uploads/resumable/{upload_id}") for method in ("HEAD", "PATCH", "DELETE")),
    *((method, "/webhooks/{webhook_id}") for method in ("GET", "PATCH", "DELETE")),
    *(("POST", f"/webhooks/{{webhook_id}}/{act}") for act in ("rotate", "test")),
    ("GET", "/webhooks/{webhook_id}/deliveries"),
    ("POST", "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"),
    *(("DELETE", path) for path in ("/jobs/{job_id}", "/teachers/{teacher_id}", "/datasets/{dataset_id}")),
}
CLOSED = sorted(ADMIN | LISTS | MAKES | set(NAMES) | THINGS)


def routes() -> set[tuple[str, str]]:
    """Every verb of every route."""
    return {(method, route.path) for route in create_app().state.routes for method in route.methods}


def test_every_route_has_an_entry_here() -> None:
    assert routes() == OPEN | set(CLOSED)


def test_the_gate_says_of_each_route_what_this_file_says() -> None:
    assert {(method, path) for method, path in routes() if gate.needed(method, path) is None} == OPEN
    assert {(method, path) for method, path in routes() if gate.needed(method, path) is Role.ADMIN} == ADMIN


@dataclass
class Two:
    """An owner who has one of everything, another who has nothing, and the ids of what there is."""

    has: httpx.Client
    other: httpx.Client
    ids: dict[str, str]

    def path(self, template: str, ids: dict[str, str]) -> str:
        """The path with these ids."""
        return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], template)

    def told(self) -> dict[str, tuple[int, str]]:
        """All that the owner is told of what it has."""
        paths = [path for method, path in sorted(LISTS | THINGS) if method == "GET"]
        return {path: self._told(path) for path in paths}

    def _told(self, template: str) -> tuple[int, str]:
        answer = self.has.get(self.path(template, self.ids))
        return answer.status_code, answer.text


def unknown(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same form and length that nothing has."""
    return {name: each[:4] + "0" * (len(each) - 4) if name.endswith("_id") else each for name, each in ids.items()}


@pytest.fixture
def two(doors: Doors) -> Two:
    has, other = doors("vision"), doors("audio")
    made = Made(has)
    job = made.job(labels={"team": "a"})
    body = has.get(f"/jobs/{job}").json()["spec"]
    held = claim(job)
    record(held, ("metrics", {"epoch": 1, "run": "student", "train": {}, "val": {}}))
    succeed(held, log="a line\n", student_pth=b"weights")
    begun = has.post("/uploads/resumable", headers={**TUS, "Upload-Length": "10", "Upload-Metadata": "filename YQ=="})
    assert begun.status_code == 201, begun.text
    hook = has.post("/webhooks", json={"url": "https://example.com/hook", "events": ["job.succeeded"]}).json()
    delivery = has.post(f"/webhooks/{hook['id']}/test").json()
    ids = {
        "job_id": job,
        "teacher_id": body["teacher"]["id"],
        "dataset_id": body["dataset"],
        "upload_id": made.upload(),
        "resumable": begun.headers["location"].rpartition("/")[2],
        "webhook_id": hook["id"],
        "delivery_id": delivery["id"],
        "name": "student.pth",
    }
    return Two(has, other, ids)


def ids_for(two: Two, path: str) -> dict[str, str]:
    return {**two.ids, "upload_id": two.ids["resumable"]} if "resumable" in path else two.ids


def compared(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """What an answer says, with each id replaced by its name."""
    text = answer.text
    for name, each in {**ids, "request_id": answer.headers["x-request-id"]}.items():
        text = text.replace(each, name)
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return answer.status_code, text, headers


def test_another_owners_thing_is_as_one_that_never_was(two: Two) -> None:
    before = two.told()
    assert all(status == 200 for status, _ in before.values()), before
    for method, path in sorted(THINGS):
        theirs, nobodys = ids_for(two, path), unknown(ids_for(two, path))
        sent = SENT.get((method, path), {})
        real = compared(two.other.request(method, two.path(path, theirs), **sent), theirs)
        none = compared(two.other.request(method, two.path(path, nobodys), **sent), nobodys)
        assert real == none, (method, path)
        assert real[0] == 404, (method, path, real)
    assert two.told() == before


def test_a_stream_of_another_owners_job_does_not_open(two: Two) -> None:
    headers = {"Accept": "text/event-stream"}
    assert two.other.get(f"/jobs/{two.ids['job_id']}/events", headers=headers).status_code == 404
    assert two.has.get(f"/jobs/{two.ids['job_id']}/events", headers=headers).status_code == 200


def test_a_tag_of_another_owners_thing_opens_nothing(two: Two) -> None:
    for path in ("/jobs/{job_id}", "/teachers/{teacher_id}", "/datasets/{dataset_id}", "/jobs/{job_id}/student.pth"):
        where = two.path(path, two.ids)
        tag = two.has.get(where).headers["etag"]
        assert two.has.get(where, headers={"If-None-Match": tag}).status_code == 304
        assert two.other.get(where, headers={"If-None-Match": tag}).status_code == 404


def test_another_owners_thing_cannot_be_named(two: Two) -> None:
    def filled(value: Any, ids: dict[str, str]) -> Any:
        if isinstance(value, dict):
            return {key: filled(each, ids) for key, each in value.items()}
        return ids.get(value[1:-1], value) if isinstance(value, str) else value

    before = two.told()
    nobodys = unknown(two.ids)
    for (method, path), body in NAMES.items():
        real = compared(two.other.request(method, path, json=filled(body, two.ids)), two.ids)
        none = compared(two.other.request(method, path, json=filled(body, nobodys)), nobodys)
        assert real == none, path
        assert real[0] == (200 if path == "/jobs/validate" else 422), (path, real)
    for teacher in ({"type": "outputs", "dataset": "{dataset_id}"}, {"type": "ensemble", "teachers": ["{teacher_id}"]}):
        given = {**NAMES["POST", "/jobs"], "teacher": teacher}
        named = [compared(two.other.post("/jobs", json=filled(given, ids)), ids) for ids in (two.ids, nobodys)]
        assert named[0] == named[1]
    assert two.told() == before


def test_lists_and_cursors_show_what_the_caller_has(two: Two) -> None:
    for _, path in LISTS:
        assert two.other.get(path).json() == {"items": [], "next_cursor": None}, path
        assert len(two.has.get(path).json()["items"]) >= 1, path
    assert two.other.get("/jobs", params={"label": "team:a", "status": "succeeded"}).json()["items"] == []
    Made(two.has).job()
    cursor = two.has.get("/jobs", params={"limit": 1}).json()["next_cursor"]
    assert cursor
    assert two.other.get("/jobs", params={"cursor": cursor}).json()["items"] == []


def test_the_docs_page_names_what_the_caller_has(two: Two, doors: Doors) -> None:
    def named(client: httpx.Client) -> set[str]:
        text = client.get("/openapi.json").text
        return {name for name, each in two.ids.items() if name.endswith("_id") and each in text}

    assert named(two.has) >= {"job_id", "upload_id"}
    assert named(two.other) == named(doors.with_token(None)) == named(doors.with_token("dk_wrong")) == set()


def test_one_key_of_two_owners_makes_two_things(two: Two) -> None:
    for method, path in [("POST", "/uploads")]:
        sent = {"headers": {"Idempotency-Key": "same"}, "content": b"the same bytes"}
        first, second = (each.request(method, path, **sent) for each in (two.has, two.other))  # type: ignore[arg-type]
        assert first.status_code == second.status_code == 201
        assert first.json()["id"] != second.json()["id"]
        assert "idempotent-replayed" not in second.headers
    job = Made(two.other).body()
    answer = two.other.post("/jobs", json=job, headers={"Idempotency-Key": "same"})
    assert answer.status_code == 201


def test_equal_bytes_of_two_owners_are_one_file_that_goes_with_the_last_row(two: Two) -> None:
    first, second = (Made(each).upload(b"bytes of both") for each in (two.has, two.other))
    answers = [each.get(f"/uploads/{id_}").json() for each, id_ in ((two.has, first), (two.other, second))]
    assert first != second
    assert {key: answers[0][key] == answers[1][key] for key in ("size", "sha256")} == {"size": True, "sha256": True}
    with db.session() as session:
        rows = [session.get_one(Upload, id_) for id_ in (first, second)]
        assert rows[0].storage_key == rows[1].storage_key
        key = rows[0].storage_key
        for row in rows:
            assert leftovers.unnamed(session, [key]) == set()
            session.delete(row)
            session.flush()
        assert leftovers.unnamed(session, [key]) == {key}


def test_whose_work_it_is_stays_with_a_retry(two: Two) -> None:
    again = two.has.post(f"/jobs/{two.ids['job_id']}/retry").json()["id"]
    assert two.has.get(f"/jobs/{again}").status_code == 200
    assert two.other.get(f"/jobs/{again}").status_code == 404


def test_an_admin_sees_its_own_owners_things_alone(two: Two, doors: Doors) -> None:
    admin = doors("operations", Role.ADMIN)
    assert admin.get(f"/jobs/{two.ids['job_id']}").status_code == 404
    assert admin.get("/jobs").json()["items"] == []
    assert doors("vision", Role.ADMIN).get(f"/jobs/{two.ids['job_id']}").status_code == 200


@pytest.mark.parametrize("place", CLOSED, ids=" ".join)
def test_without_a_key_a_route_says_nothing(doors: Doors, place: tuple[str, str]) -> None:
    doors("vision")
    method, template = place
    path = re.sub(r"\{(\w+)\}", "job_0", template)
    answer = doors.with_token(None).request(method, path, **SENT.get(place, {}))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert answer.json()["code"] == "key_missing"


def test_a_viewer_reads_and_does_nothing_else(two: Two, doors: Doors) -> None:
    viewer = doors("vision", Role.VIEWER)
    before = two.told()
    for method, path in CLOSED:
        place = two.path(path, {**ids_for(two, path), "key_id": "key_0"})
        answer = viewer.request(method, place, **SENT.get((method, path), {}))
        if gate.needed(method, path) is Role.VIEWER:
            assert answer.status_code not in {401, 403}, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert answer.json()["code"] == "forbidden"
            assert str(gate.needed(method, path)) in answer.json()["detail"]
    assert two.told() == before


@pytest.mark.parametrize("place", sorted(OPEN), ids=" ".join)
def test_what_is_open_is_open_to_all(doors: Doors, place: tuple[str, str]) -> None:
    doors("vision")
    assert doors.with_token(None).request(*place).status_code in {200, 204, 307}

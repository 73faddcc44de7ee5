"""Downloads: whole, in part, resumed, and only of the version that was asked for."""

import base64
import hashlib
import os

import httpx
import pytest
from sqlalchemy import select

from core import db
from core.storage import storage
from models.tables import Artifact
from tests.api.made import Made, claim, problem, succeed

DATA = os.urandom(3_000_000)
ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


@pytest.fixture
def student(made: Made) -> str:
    """The path of a student."""
    job = made.job()
    succeed(claim(job), student_pth=DATA, report_json=b"{}", empty_txt=b"")
    return f"/jobs/{job}/student.pth"


def test_a_download_says_all_about_itself(api: httpx.Client, student: str) -> None:
    answer = api.get(student)
    assert answer.status_code == 200
    assert answer.content == DATA
    headers = answer.headers
    assert headers["etag"] == ETAG
    assert headers["content-length"] == str(len(DATA))
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''student.pth"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:"


def test_files_are_listed_by_name_in_pages(api: httpx.Client, made: Made) -> None:
    job = made.job()
    succeed(claim(job), d_txt=b"", b_txt=b"", a_txt=b"", e_txt=b"", c_txt=b"")
    path, names, cursor = f"/jobs/{job}/artifacts", [], None
    for _ in range(3):
        page = api.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        names.append([item["name"] for item in page["items"]])
        cursor = page["next_cursor"]
    assert names == [["a.txt", "b.txt"], ["c.txt", "d.txt"], ["e.txt"]]
    assert cursor is None
    whole = api.get(path).json()
    assert (len(whole["items"]), whole["next_cursor"]) == (5, None)
    of_jobs = base64.urlsafe_b64encode(b'["2026-01-01T00:00:00+00:00", "job_A"]').decode()
    for wrong in ("x", "bnVsbA", of_jobs, base64.urlsafe_b64encode(b'["name", "\\u0000"]').decode()):
        problem(api.get(path, params={"cursor": wrong}), 422, "invalid", "?cursor")
    problem(api.get(path, params={"limit": 201}), 422, "invalid", "?limit")


def test_head_is_the_same_without_the_bytes(api: httpx.Client, student: str) -> None:
    head, whole = api.head(student), api.get(student)
    assert head.content == b""
    ignored = {"date", "x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in whole.headers.items() if k not in ignored
    }


def test_a_download_that_broke_off_goes_on(api: httpx.Client, student: str) -> None:
    with api.stream("GET", student) as answer:
        first = next(answer.iter_bytes(100_000))
    rest = api.get(student, headers={"Range": f"bytes={len(first)}-", "If-Range": ETAG})
    assert rest.status_code == 206
    assert rest.headers["content-range"] == f"bytes {len(first)}-{len(DATA) - 1}/{len(DATA)}"
    assert first + rest.content == DATA


@pytest.mark.parametrize(("asked", "start", "end"), [("0-0", 0, 1), ("10-99", 10, 100), ("-5", len(DATA) - 5, None)])
def test_one_range(api: httpx.Client, student: str, asked: str, start: int, end: int | None) -> None:
    answer = api.get(student, headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    head = api.head(student, headers={"Range": f"bytes={asked}"})
    assert (head.status_code, head.headers["content-length"]) == (206, str(len(answer.content)))


def test_another_version_is_sent_whole(api: httpx.Client, student: str) -> None:
    answer = api.get(student, headers={"Range": "bytes=5-", "If-Range": '"old"'})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))
    problem(api.get(student, headers={"If-Match": '"old"'}), 412, "precondition_failed")


def test_what_the_caller_has_is_not_sent(api: httpx.Client, student: str) -> None:
    assert api.get(student, headers={"If-None-Match": ETAG}).status_code == 304


def test_a_range_beyond_the_end(api: httpx.Client, student: str) -> None:
    answer = api.get(student, headers={"Range": f"bytes={len(DATA)}-"})
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_files_are_listed_with_their_hashes(api: httpx.Client, student: str) -> None:
    job = student.split("/")[2]
    items = api.get(f"/jobs/{job}/artifacts").json()["items"]
    assert [item["name"] for item in items] == ["empty.txt", "report.json", "student.pth"]
    assert items == api.get(f"/jobs/{job}").json()["artifacts"]
    assert (items[2]["size"], items[2]["sha256"]) == (len(DATA), ETAG.strip('"'))
    assert [api.get(item["url"]).content for item in items] == [b"", b"{}", DATA]


def test_before_the_end_there_are_no_files(api: httpx.Client, made: Made) -> None:
    job = made.job()
    refused = problem(api.get(f"/jobs/{job}/student.pth"), 404, "not_ready_yet")
    assert "queued" in refused["detail"]
    assert api.get(f"/jobs/{job}/artifacts").json() == {"items": [], "next_cursor": None}
    assert api.head(f"/jobs/{job}/student.pth").status_code == 404
    api.post(f"/jobs/{job}/cancel")
    assert "it is cancelled" in problem(api.get(f"/jobs/{job}/student.pth"), 404, "not_found")["detail"]


@pytest.mark.parametrize("name", ["other.bin", "..%2f..%2fetc%2fpasswd", "%00", "x" * 500])
def test_a_name_that_is_not_there(api: httpx.Client, student: str, name: str) -> None:
    problem(api.get(student.replace("student.pth", f"artifacts/{name}")), 404, "not_found")


def test_a_file_that_is_gone_is_our_fault(api: httpx.Client, student: str) -> None:
    with db.session() as session:
        key = session.scalars(select(Artifact.storage_key).where(Artifact.name == "student.pth")).one()
    storage().delete(key)
    answer = api.get(student)
    assert key not in problem(answer, 503, "missing_file")["detail"]
    assert answer.headers["retry-after"]


def test_the_files_of_a_deleted_job_are_gone(api: httpx.Client, student: str) -> None:
    with db.session() as session:
        keys = list(session.scalars(select(Artifact.storage_key)))
    api.delete("/".join(student.split("/")[:3]))
    assert not any(storage().exists(key) for key in keys)

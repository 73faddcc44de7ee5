"""A POST that is sent again is answered again, and makes nothing: whoever sends it, at once or after a crash."""

import base64
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text

from core import db
from models.tables import Dataset, IdempotencyKey, Job, Teacher, Upload
from tests.api.made import Made, problem

ROOT = Path(__file__).resolve().parents[2]
KEY = {"Idempotency-Key": "key 1"}


def counted(*tables: Any) -> list[int]:
    with db.session() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def same(first: httpx.Response, again: httpx.Response) -> None:
    """The second is the first, and says that it is."""
    assert (first.status_code, first.content) == (again.status_code, again.content)
    for header in ("location", "etag", "content-type"):
        assert first.headers.get(header) == again.headers.get(header), header
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


def test_one_key_makes_one_job(api: httpx.Client, made: Made) -> None:
    body = made.body()
    first = api.post("/jobs", json=body, headers=KEY)
    assert first.status_code == 201
    same(first, api.post("/jobs", content=json.dumps(dict(reversed(body.items())), indent=1), headers={**KEY, **JSON}))
    other = api.post("/jobs", json={**body, "name": "another"}, headers=KEY)
    problem(other, 422, "idempotency_key_reused", "Idempotency-Key:")
    assert api.post("/jobs", json=body, headers={"Idempotency-Key": "key 2"}).json()["id"] != first.json()["id"]
    assert counted(Job, IdempotencyKey) == [2, 2]


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\xe9"])
def test_a_key_that_is_none(api: httpx.Client, made: Made, key: str) -> None:
    headers = httpx.Headers([(b"idempotency-key", key.encode("latin-1"))])
    problem(api.post("/jobs", json=made.body(), headers=headers), 422, "invalid", "Idempotency-Key:")


def test_twenty_at_once_make_one_job(api: httpx.Client, made: Made) -> None:
    body = made.body()
    with ThreadPoolExecutor(20) as pool:
        posts = [pool.submit(api.post, "/jobs", json=body, headers=KEY) for _ in range(20)]
    answers = [post.result() for post in posts]
    for busy in (answer for answer in answers if answer.status_code != 201):
        problem(busy, 409, "request_in_flight")
        assert busy.headers["retry-after"] == "1"
    ids = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(ids) == 1
    assert api.post("/jobs", json=body, headers=KEY).json()["id"] in ids
    assert counted(Job, IdempotencyKey) == [1, 1]


#: Another copy of the API, in the middle of the same request.
_HOLD = """
import sys, time
from starlette.requests import Request
from api.idempotency import Once
scope = {"type": "http", "method": "POST", "path": "/jobs", "query_string": b"", "headers": [(b"host", b"x")]}
with Once(Request(scope), "local", "key 1").transaction() as session:
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_request_in_flight_is_told_and_a_killed_one_leaves_no_lock(api: httpx.Client, made: Made) -> None:
    body = made.body()
    other = subprocess.Popen([sys.executable, "-c", _HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        problem(api.post("/jobs", json=body, headers=KEY), 409, "request_in_flight")
        assert counted(Job) == [0]
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    until = time.monotonic() + 10
    while (answer := api.post("/jobs", json=body, headers=KEY)).status_code == 409 and time.monotonic() < until:
        time.sleep(0.05)
    assert answer.status_code == 201
    assert counted(Job) == [1]


def test_an_error_is_not_kept(api: httpx.Client, made: Made) -> None:
    body = made.body()
    refused = api.post("/jobs", json={**body, "dataset": "dst_none"}, headers=KEY)
    problem(refused, 422, "unknown_dataset", "/dataset")
    assert api.post("/jobs", json=body, headers=KEY).status_code == 201


def test_a_key_is_forgotten_after_its_time(api: httpx.Client, made: Made) -> None:
    body = made.body()
    first = api.post("/jobs", json=body, headers=KEY).json()["id"]
    with db.session() as session:
        session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    second = api.post("/jobs", json=body, headers=KEY)
    assert second.status_code == 201
    assert second.json()["id"] != first
    same_again = api.post("/jobs", json=body, headers=KEY)
    assert same_again.json()["id"] == second.json()["id"]
    assert counted(IdempotencyKey) == [1]


def test_a_job_that_was_deleted_is_answered_as_it_was(api: httpx.Client, made: Made) -> None:
    body = made.body()
    first = api.post("/jobs", json=body, headers=KEY)
    job = first.json()["id"]
    api.post(f"/jobs/{job}/cancel")
    assert api.delete(f"/jobs/{job}").status_code == 204
    same(first, api.post("/jobs", json=body, headers=KEY))
    assert counted(Job) == [0]


def test_steering_is_answered_again_too(api: httpx.Client, made: Made) -> None:
    job = made.job()
    paused = api.post(f"/jobs/{job}/pause", headers=KEY)
    api.post(f"/jobs/{job}/resume")
    same(paused, api.post(f"/jobs/{job}/pause", headers=KEY))
    assert api.get(f"/jobs/{job}").json()["status"] == "queued"
    api.post(f"/jobs/{job}/cancel", headers=KEY)
    retried = api.post(f"/jobs/{job}/retry", json={"from": "start"}, headers=KEY)
    same(retried, api.post(f"/jobs/{job}/retry", json={"from": "start"}, headers=KEY))
    assert retried.headers["location"] == f"/jobs/{retried.json()['id']}"
    assert counted(Job) == [2]


def test_one_key_makes_one_teacher_and_one_data_set(api: httpx.Client, made: Made) -> None:
    upload = made.upload()
    rest: dict[str, Any] = {
        "teachers": {"architecture": {"type": "resnet", "depth": 20}},
        "datasets": {"task": "image_classification"},
    }
    for kind, more in rest.items():
        body = {"name": "x", "upload": upload, **more}
        same(api.post(f"/{kind}", json=body, headers=KEY), api.post(f"/{kind}", json=body, headers=KEY))
    assert counted(Teacher, Dataset) == [1, 1]


def digest(data: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


def test_the_bytes_of_an_upload_are_its_body(api: httpx.Client) -> None:
    first = api.post("/uploads?filename=a", content=b"bytes", headers=KEY)
    same(first, api.post("/uploads?filename=a", content=b"bytes", headers=KEY))
    same(first, api.post("/uploads?filename=a", content=b"bytes", headers={**KEY, **digest(b"bytes")}))
    for path, content in (("/uploads?filename=a", b"other"), ("/uploads?filename=b", b"bytes")):
        problem(api.post(path, content=content, headers=KEY), 422, "idempotency_key_reused", "Idempotency-Key:")
    other = api.post("/uploads?filename=a", content=b"other", headers={**KEY, **digest(b"other")})
    problem(other, 422, "idempotency_key_reused", "Idempotency-Key:")
    assert counted(Upload) == [1]


def test_a_second_upload_with_the_key_waits_for_the_first(api: httpx.Client, server: Any) -> None:
    with ThreadPoolExecutor(1) as pool:

        def slowly() -> Iterator[bytes]:
            yield b"a"
            with httpx.Client(base_url=server.url) as other:
                problem(other.post("/uploads", content=b"a", headers=KEY), 409, "request_in_flight")
            yield b"b"

        assert pool.submit(api.post, "/uploads", content=slowly(), headers=KEY).result().status_code == 201
    assert counted(Upload) == [1]


def test_every_post_takes_a_key(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    without = {
        path
        for path, operations in paths.items()
        if "post" in operations
        and "Idempotency-Key" not in {each["name"] for each in operations["post"].get("parameters", [])}
    }
    assert without <= {"/jobs/validate"}


def test_a_token_is_not_kept_with_its_answer(api: httpx.Client) -> None:
    body = {"owner": "vision", "role": "admin"}
    first = api.post("/keys", json=body, headers=KEY)
    token = first.json()["token"]
    # The first key closes the door to whoever has none; its owner's answer is another's.
    with httpx.Client(base_url=api.base_url, headers={"Authorization": f"Bearer {token}", **KEY}) as admin:
        second, again = admin.post("/keys", json=body), admin.post("/keys", json=body)
    assert second.json()["token"]
    assert again.json() == {**second.json(), "token": None}
    assert again.headers["idempotent-replayed"] == "true"
    with db.session() as session:
        kept = " ".join(session.scalars(select(IdempotencyKey.body)))
    assert token not in kept
    assert second.json()["token"] not in kept

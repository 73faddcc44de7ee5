"""What one owner may have and send: jobs, bytes, requests, streams."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from api.rates import Rates
from core.settings import settings
from tests.api.conftest import Doors
from tests.api.made import Made, Server, claim, problem, succeed

Limit = Callable[[str, object], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    def set_to(name: str, value: object) -> None:
        monkeypatch.setenv(f"DISTILLERY_{name}", str(value))
        settings.cache_clear()

    yield set_to
    settings.cache_clear()


def test_jobs_that_wait(doors: Doors, limit: Limit) -> None:
    limit("MAX_QUEUED_PER_OWNER", 2)
    client, made = doors("vision"), Made(doors("vision"))
    body = made.body()
    first = client.post("/jobs", json=body).json()["id"]
    second = client.post("/jobs", json=body).json()["id"]
    refused = client.post("/jobs", json=body)
    detail = problem(refused, 429, "too_many_jobs")["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert "2 jobs" in detail
    assert "DISTILLERY_MAX_QUEUED_PER_OWNER" in detail
    client.post(f"/jobs/{first}/pause")
    problem(client.post("/jobs", json=body), 429, "too_many_jobs")
    succeed(claim(second))
    third = client.post("/jobs", json=body)
    assert third.status_code == 201
    problem(client.post(f"/jobs/{second}/retry"), 429, "too_many_jobs")
    other = Made(doors("audio"))
    assert other.job()


def test_many_at_once_do_not_get_beyond_the_limit(doors: Doors, limit: Limit) -> None:
    limit("MAX_QUEUED_PER_OWNER", 3)
    client = doors("vision")
    body = Made(client).body()
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/jobs", json=body).status_code)) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] * 3 + [429] * 7


def test_bytes_that_are_stored(doors: Doors, limit: Limit) -> None:
    client = doors("vision")
    client.post("/uploads", content=b"x" * 600)
    limit("MAX_STORED_BYTES_PER_OWNER", 1000)
    detail = problem(client.post("/uploads", content=b"y" * 600), 413, "storage_full")["detail"]
    assert "600 bytes" in detail
    assert "1000" in detail
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "600"}
    problem(client.post("/uploads/resumable", headers=tus), 413, "storage_full")
    assert client.post("/uploads", content=b"z" * 400).status_code == 201
    assert doors("audio").post("/uploads", content=b"y" * 600).status_code == 201


def test_a_body_without_a_length_ends_where_the_room_does(doors: Doors, limit: Limit) -> None:
    limit("MAX_STORED_BYTES_PER_OWNER", 1000)
    client = doors("vision")
    refused = problem(client.post("/uploads", content=iter([b"y" * 600, b"z" * 600])), 413, "storage_full")
    assert "room for 1000 bytes" in refused["detail"]
    tus = {"Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1"}
    path = client.post("/uploads/resumable", headers=tus).headers["location"]
    part = {**tus, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    problem(client.patch(path, headers=part, content=iter([b"y" * 600, b"z" * 600])), 413, "storage_full")
    assert client.head(path, headers=tus).headers["upload-offset"] == "1000", "what there is room for has come"
    problem(client.patch(path, headers={**part, "Upload-Offset": "1000"}, content=b"a"), 413, "storage_full")
    client.delete(path, headers=tus)
    limit("MAX_UPLOAD_BYTES", 700)
    problem(client.post("/uploads", content=iter([b"y" * 600, b"z" * 600])), 413, "too_large")


def test_what_has_not_arrived_whole_takes_room(doors: Doors, limit: Limit) -> None:
    limit("MAX_STORED_BYTES_PER_OWNER", 1000)
    client = doors("vision")
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "600"}
    path = client.post("/uploads/resumable", headers=tus).headers["location"]
    assert "600 bytes" in problem(client.post("/uploads", content=b"y" * 500), 413, "storage_full")["detail"]
    problem(client.post("/uploads/resumable", headers={**tus, "Upload-Length": "401"}), 413, "storage_full")
    beside = client.post("/uploads/resumable", headers={**tus, "Upload-Length": "400"})
    assert beside.status_code == 201, "what arrives takes its room once"
    client.delete(beside.headers["location"], headers=tus)
    client.delete(path, headers=tus)
    assert client.post("/uploads", content=b"y" * 500).status_code == 201


def test_uploads_at_once_do_not_get_beyond_the_limit(doors: Doors, limit: Limit) -> None:
    limit("MAX_STORED_BYTES_PER_OWNER", 1000)
    client = doors("vision")
    together = threading.Barrier(4, timeout=10)

    def body(letter: bytes) -> Iterator[bytes]:
        yield letter * 200
        together.wait()  # all have been let in
        yield letter * 200

    def hand_in(letter: bytes) -> None:
        answers.append(client.post("/uploads", content=body(letter)))

    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=hand_in, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 201, 413, 413]
    for refused in (answer for answer in answers if answer.status_code == 413):
        assert "1200 bytes" in problem(refused, 413, "storage_full")["detail"]


def test_requests(doors: Doors, limit: Limit) -> None:
    limit("MAX_REQUESTS_PER_MINUTE", 5)
    client = doors("vision")
    answers = [client.get("/jobs") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 120
    problem(answers[-1], 429, "too_many_requests")
    assert client.get("/healthz").status_code == 200
    assert doors("audio").get("/jobs").status_code == 200


def test_requests_go_on_without_redis_and_the_log_says_so_once(
    doors: Doors, limit: Limit, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit("MAX_REQUESTS_PER_MINUTE", 1)
    limit("REDIS_URL", "redis://127.0.0.1:9")
    client = doors("vision")
    with caplog.at_level(logging.WARNING, "distillery.api"):
        began_at = time.monotonic()
        assert {client.get("/jobs").status_code for _ in range(20)} == {200}
        assert time.monotonic() - began_at < 5
    assert [line for line in caplog.messages if "not counted" in line] != []
    assert len([line for line in caplog.messages if "not counted" in line]) == 1
    # The server is shared with the tests that follow.
    rates: Rates = server.app.state.rates
    rates.resume()


def test_streams(doors: Doors, limit: Limit, server: Server) -> None:
    limit("MAX_STREAMS_PER_OWNER", 2)
    limit("MAX_STREAMS", 3)
    client, other = doors("vision"), doors("audio")
    jobs = {each: f"/jobs/{Made(each).job()}/events" for each in (client, other)}
    accept = {"Accept": "text/event-stream"}
    with ExitStack() as opened:
        for _ in range(2):
            assert opened.enter_context(client.stream("GET", jobs[client], headers=accept)).status_code == 200
        problem(client.get(jobs[client], headers=accept), 429, "too_many_streams")
        assert opened.enter_context(other.stream("GET", jobs[other], headers=accept)).status_code == 200
        assert "3 event streams" in problem(other.get(jobs[other], headers=accept), 429, "too_many_streams")["detail"]
        assert client.get(jobs[client]).status_code == 200
    until = time.monotonic() + 10
    while server.app.state.seats.taken.total():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_nobody_is_counted_without_keys(api: httpx.Client, limit: Limit) -> None:
    limit("MAX_REQUESTS_PER_MINUTE", 1)
    assert {api.get("/jobs").status_code for _ in range(3)} == {200}

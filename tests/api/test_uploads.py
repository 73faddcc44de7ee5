"""Uploads: hashed, bounded, whole or not there at all."""

import base64
import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from core import db
from core.settings import settings
from models.tables import Upload
from tests.api.made import Made, Server, problem


def content_digest(data: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


def stored_files() -> list[Path]:
    """Every file in the data folder, temporary ones included."""
    return [path for path in settings().data_dir.rglob("*") if path.is_file()]


def assert_nothing_stored() -> None:
    assert stored_files() == []
    with db.session() as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 0


def test_an_upload_is_hashed_and_found_again(api: httpx.Client) -> None:
    data = b"0123456789" * 1000
    answer = api.post("/uploads?filename=t.pth", content=data, headers=content_digest(data))
    assert answer.status_code == 201
    upload = answer.json()
    assert upload["id"].startswith("upl_")
    assert (upload["filename"], upload["size"]) == ("t.pth", len(data))
    assert upload["sha256"] == hashlib.sha256(data).hexdigest()
    assert answer.headers["location"] == f"/uploads/{upload['id']}"
    assert api.get(answer.headers["location"]).json() == upload


def test_equal_bytes_are_one_object_and_two_uploads(api: httpx.Client) -> None:
    first, second = (api.post("/uploads", content=b"same").json() for _ in range(2))
    assert first["id"] != second["id"]
    assert len(stored_files()) == 1


def test_a_body_without_a_length_is_taken(api: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a" * 100_000
        yield b"b"

    assert api.post("/uploads", content=chunks()).json()["size"] == 100_001


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\t.pth", "t.pth"),
        ("a\x00\r\nb\u202e.pth", "ab.pth"),
        ("x" * 900, "x" * 255),
        ("/", "upload"),
        ("Größe 2.npz", "Größe 2.npz"),
    ],
)
def test_a_file_name_is_only_text(api: httpx.Client, given: str, kept: str) -> None:
    assert api.post("/uploads", params={"filename": given}, content=b"x").json()["filename"] == kept


def test_a_wrong_digest_leaves_nothing(api: httpx.Client) -> None:
    answer = api.post("/uploads", content=b"other", headers=content_digest(b"this"))
    problem(answer, 400, "digest_mismatch")
    assert_nothing_stored()


@pytest.mark.parametrize("header", ["sha-256=abc", "sha-256=:####:", "sha-256=:YWJj:", "sha-512=:YWJj:", ""])
def test_a_digest_that_cannot_be_read(api: httpx.Client, header: str) -> None:
    answer = api.post("/uploads", content=b"x", headers={"Content-Digest": header})
    problem(answer, 400, "malformed", "Content-Digest:")
    assert_nothing_stored()


def test_an_empty_body_is_refused(api: httpx.Client) -> None:
    problem(api.post("/uploads", content=b""), 400, "empty_body")
    assert_nothing_stored()


def test_a_form_is_refused_with_the_remedy(api: httpx.Client) -> None:
    answer = api.post("/uploads", files={"file": b"x"})
    assert "--data-binary" in problem(answer, 400, "malformed")["detail"]
    assert_nothing_stored()


def test_a_claimed_length_beyond_the_limit_is_answered_before_the_body(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        head = f"POST /uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: {100 * 10**12}\r\n\r\n"
        client.sendall(head.encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))  # ends: the connection is closed
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert b'"code": "too_large"' in answer
    assert_nothing_stored()


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_MAX_UPLOAD_BYTES", "1000")


def test_a_body_that_grows_beyond_the_limit_leaves_nothing(small_limit: None, api: httpx.Client) -> None:
    assert api.post("/uploads", content=iter([b"x" * 1000])).status_code == 201
    api.post("/uploads", content=b"x" * 1000)
    before = stored_files()
    problem(api.post("/uploads", content=iter([b"x" * 600, b"y" * 600])), 413, "too_large")
    problem(api.post("/uploads", content=b"x" * 1001), 413, "too_large")
    assert stored_files() == before


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_MIN_FREE_BYTES", str(10**15))


def test_an_upload_that_the_disk_has_no_room_for(full_disk: None, api: httpx.Client) -> None:
    problem(api.post("/uploads", content=b"x"), 413, "no_space")
    assert_nothing_stored()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_goes_away_leaves_nothing(server: Server, api: httpx.Client, chunked: bool) -> None:
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100000000"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(f"POST /uploads HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode())
        client.sendall(b"%x\r\n%s\r\n" % (100_000, b"x" * 100_000) if chunked else b"x" * 100_000)
        deadline = time.monotonic() + 5
        while not stored_files() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stored_files(), "the body is being written"
    while stored_files() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert_nothing_stored()


def test_there_is_no_such_upload(api: httpx.Client, made: Made) -> None:
    made.upload()
    problem(api.get("/uploads/upl_nothing"), 404, "not_found")
    problem(api.get("/uploads/%00"), 404, "not_found")

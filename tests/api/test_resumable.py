"""Uploads in parts, with a public tus client and by hand: what arrives stays, whatever breaks."""

import base64
import hashlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text
from tusclient.client import TusClient

from api import arriving
from core import db
from core.settings import settings
from core.storage import storage
from models.tables import ResumableUpload, Upload
from scripts.tus.cut import Cutting
from tests.api.conftest import Doors
from tests.api.made import Server, problem

V = {"Tus-Resumable": "1.0.0"}
PART = {**V, "Content-Type": "application/offset+octet-stream"}


def begin(api: httpx.Client, length: int, **headers: str) -> str:
    answer = api.post("/uploads/resumable", headers={**V, "Upload-Length": str(length), **headers})
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.headers["location"]


def add(api: httpx.Client, path: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    return api.patch(path, content=data, headers={**PART, "Upload-Offset": str(offset), **headers})


def offset(api: httpx.Client, path: str) -> int:
    return int(api.head(path, headers=V).headers["upload-offset"])


def spooled() -> list[Path]:
    return list(storage().spool("resumable").iterdir())


def test_what_is_spoken(api: httpx.Client) -> None:
    for path in ("/uploads/resumable", "/uploads/resumable/upl_1"):
        answer = api.options(path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-max-size"] == str(settings().max_upload_bytes)
        assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"
        for extension in ("creation", "creation-with-upload", "checksum", "expiration", "termination"):
            assert extension in answer.headers["tus-extension"].split(",")


def test_what_is_spoken_is_said_without_a_key(doors: Doors) -> None:
    doors("vision")
    anyone = doors.with_token(None)
    for path in ("/uploads/resumable", "/uploads/resumable/upl_1"):
        assert anyone.options(path).headers["tus-version"] == "1.0.0"
    problem(anyone.post("/uploads/resumable", headers={**V, "Upload-Length": "1"}), 401, "key_missing")
    problem(anyone.options("/uploads"), 401, "key_missing")
    problem(anyone.options("/uploads/resumableness"), 401, "key_missing")


def test_parts_become_an_upload(api: httpx.Client) -> None:
    data = os.urandom(300_000)
    name = base64.b64encode(b"../a/t.pth").decode()
    path = begin(api, len(data), **{"Upload-Metadata": f"filename {name},empty"})
    assert add(api, path, 0, data[:1000]).headers["upload-offset"] == "1000"
    head = api.head(path, headers=V)
    assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (200, "1000", "300000")
    assert head.headers["upload-metadata"] == f"filename {name},empty"
    assert head.headers["cache-control"] == "no-store"
    assert head.headers["upload-expires"].endswith(" GMT")
    assert "distillery-upload" not in head.headers
    last = add(api, path, 1000, data[1000:])
    assert (last.status_code, last.headers["upload-offset"]) == (204, "300000")
    upload = api.get(f"/uploads/{last.headers['distillery-upload']}").json()
    assert (upload["size"], upload["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert upload["filename"] == "t.pth"
    assert path.endswith(upload["id"])
    assert b"".join(storage().read(f"blobs/{upload['sha256'][:2]}/{upload['sha256']}")) == data
    assert api.head(path, headers=V).headers["distillery-upload"] == upload["id"]
    problem(add(api, path, 300_000, b"more"), 409, "upload_complete")
    assert spooled() == []


def test_the_first_part_may_come_along(api: httpx.Client) -> None:
    answer = api.post("/uploads/resumable", content=b"abc", headers={**PART, "Upload-Length": "3"})
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "3")
    assert api.get(f"/uploads/{answer.headers['distillery-upload']}").json()["size"] == 3


def test_a_length_that_is_said_later(api: httpx.Client) -> None:
    path = api.post("/uploads/resumable", headers={**V, "Upload-Defer-Length": "1"}).headers["location"]
    assert api.head(path, headers=V).headers["upload-defer-length"] == "1"
    add(api, path, 0, b"abc")
    problem(add(api, path, 3, b"", **{"Upload-Length": "2"}), 400, "malformed", "Upload-Length:")
    done = add(api, path, 3, b"de", **{"Upload-Length": "5"})
    assert done.headers["distillery-upload"]
    assert api.get(f"/uploads/{path.rpartition('/')[2]}").json()["sha256"] == hashlib.sha256(b"abcde").hexdigest()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_part_with_a_checksum_counts_whole_or_not_at_all(api: httpx.Client, algorithm: str) -> None:
    path = begin(api, 6)
    good = base64.b64encode(hashlib.new(algorithm, b"abc").digest()).decode()
    wrong = add(api, path, 0, b"abx", **{"Upload-Checksum": f"{algorithm} {good}"})
    problem(wrong, 460, "checksum_mismatch")
    assert offset(api, path) == 0
    assert add(api, path, 0, b"abc", **{"Upload-Checksum": f"{algorithm} {good}"}).status_code == 204
    for said in ("crc32 AAAA", algorithm, f"{algorithm} ####", f"{algorithm} AAAA"):
        refused = add(api, path, 3, b"def", **{"Upload-Checksum": said})
        problem(refused, 400, "malformed", "Upload-Checksum:")
    assert offset(api, path) == 3


def test_what_is_not_understood(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = begin(api, 6)
    for answer in (
        api.post("/uploads/resumable", headers={"Upload-Length": "1"}),
        api.head(path, headers={"Tus-Resumable": "0.2.2"}),
        api.patch(path, content=b"a", headers={**PART, "Upload-Offset": "0", "Tus-Resumable": "2"}),
    ):
        assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")
    problem(add(api, path, 1, b"a"), 409, "offset_differs")
    problem(add(api, path, 0, b"1234567"), 413, "too_large")
    problem(add(api, path, 0, b"a", **{"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    problem(add(api, path, 0, b"a", **{"Upload-Length": "7"}), 400, "malformed", "Upload-Length:")
    problem(api.patch(path, content=b"a", headers=PART), 400, "malformed", "Upload-Offset:")
    problem(api.patch(path, content=b"a", headers={**PART, "Upload-Offset": "-1"}), 400, "malformed", "Upload-Offset:")
    for length in ({}, {"Upload-Length": "x"}, {"Upload-Length": "1", "Upload-Defer-Length": "1"}):
        problem(api.post("/uploads/resumable", headers={**V, **length}), 400, "malformed", "Upload-Length:")
    problem(api.post("/uploads/resumable", headers={**V, "Upload-Length": "0"}), 400, "empty_body", "Upload-Length:")
    problem(add(api, path, 0, b"", **{"Upload-Length": "0"}), 400, "empty_body", "Upload-Length:")
    strange = api.post("/uploads/resumable", headers={**V, "Upload-Length": "1", "Upload-Defer-Length": "2"})
    problem(strange, 400, "malformed", "Upload-Defer-Length:")
    unread = api.post("/uploads/resumable", headers={**V, "Upload-Length": "1", "Upload-Checksum": "sha1 A"})
    problem(unread, 400, "malformed", "Upload-Checksum:")
    for said in ("filename #", "filename YQ", "a YQ==,,b", "a  YQ==", "a YQ==;b"):
        refused = api.post("/uploads/resumable", headers={**V, "Upload-Length": "1", "Upload-Metadata": said})
        problem(refused, 400, "malformed", "Upload-Metadata:")
    assert refused.headers["tus-resumable"] == "1.0.0"
    monkeypatch.setenv("DISTILLERY_MAX_UPLOAD_BYTES", "100")
    settings.cache_clear()
    problem(api.post("/uploads/resumable", headers={**V, "Upload-Length": "101"}), 413, "too_large")
    assert api.head("/uploads/resumable/upl_none", headers=V).status_code == 404
    assert offset(api, path) == 0


def test_one_at_a_time(api: httpx.Client, server: Server) -> None:
    path = begin(api, 6)
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        head = "\r\n".join(f"{name}: {value}" for name, value in {**PART, "Upload-Offset": "0"}.items())
        slow.sendall(f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n{head}\r\n\r\nab".encode())
        until(lambda: spooled() and spooled()[0].stat().st_size == 0)
        time.sleep(0.1)  # the file is there a moment before its lock
        busy = add(api, path, 0, b"abcdef")
        problem(busy, 423, "locked")
        assert busy.headers["retry-after"] == "1"
        problem(api.delete(path, headers=V), 423, "locked")
    # The connection broke: what had come stays, and the lock is gone.
    until(lambda: offset(api, path) == 2)
    until(lambda: add(api, path, 2, b"cdef").status_code == 204)
    assert api.get(f"/uploads/{path.rpartition('/')[2]}").json()["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


def until(holds: Any) -> None:
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to hold")


def test_an_end_removes_what_has_come(api: httpx.Client) -> None:
    path = begin(api, 6)
    add(api, path, 0, b"abc")
    assert api.delete(path, headers=V).status_code == 204
    assert spooled() == []
    problem(add(api, path, 3, b"def"), 404, "not_found")


def test_what_is_not_continued_expires(api: httpx.Client) -> None:
    path = begin(api, 6)
    add(api, path, 0, b"abc")
    with db.session() as session:
        session.execute(text("UPDATE resumable_uploads SET expires_at = now() - interval '1 s'"))
    problem(add(api, path, 3, b"def"), 410, "upload_expired")
    (file,) = spooled()
    arriving.tidy()
    assert spooled() == [file], "a young file may belong to a row that is about to be committed"
    os.utime(file, (0, 0))
    arriving.tidy()
    assert spooled() == []
    problem(add(api, path, 3, b"def"), 404, "not_found")


def test_what_a_row_needs_is_not_tidied_away(api: httpx.Client) -> None:
    path = begin(api, 6)
    add(api, path, 0, b"abc")
    (file,) = spooled()
    os.utime(file, (0, 0))
    arriving.tidy()
    assert add(api, path, 3, b"def").status_code == 204


def test_parts_that_were_written_but_not_counted_are_written_over(api: httpx.Client) -> None:
    path = begin(api, 6)
    add(api, path, 0, b"abc")
    (file,) = spooled()
    file.write_bytes(b"abcxyz")  # a process that was killed before it could say so
    add(api, path, 3, b"def")
    assert api.get(f"/uploads/{path.rpartition('/')[2]}").json()["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


def test_a_spool_that_was_emptied_is_told(api: httpx.Client) -> None:
    path = begin(api, 6)
    add(api, path, 0, b"abc")
    spooled()[0].unlink()
    problem(add(api, path, 3, b"def"), 404, "parts_missing")


def test_one_that_was_whole_when_its_process_died_is_finished_by_the_next_look(api: httpx.Client) -> None:
    path = begin(api, 6)
    add(api, path, 0, b"abc")
    (file,) = spooled()
    file.write_bytes(b"abcdef")
    with db.session() as session:
        session.execute(text("UPDATE resumable_uploads SET received = 6"))
    upload = api.head(path, headers=V).headers["distillery-upload"]
    assert api.get(f"/uploads/{upload}").json()["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


def test_one_key_begins_one_upload(api: httpx.Client) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = begin(api, 6, **key), begin(api, 6, **key)
    assert first == again
    other = api.post("/uploads/resumable", headers={**V, "Upload-Length": "7", **key})
    problem(other, 422, "idempotency_key_reused", "Idempotency-Key:")
    with db.session() as session:
        assert session.scalar(select(func.count()).select_from(ResumableUpload)) == 1


def test_a_beginning_that_is_answered_again_says_how_far_the_upload_is(api: httpx.Client) -> None:
    headers = {**PART, "Upload-Length": "6", "Idempotency-Key": "k"}
    first, again = (api.post("/uploads/resumable", content=b"abc", headers=headers) for _ in range(2))
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers["upload-offset"], again.headers["upload-offset"]) == ("3", "3")
    done = add(api, first.headers["location"], 3, b"def")
    assert done.headers["upload-offset"] == "6"
    again = api.post("/uploads/resumable", content=b"abc", headers=headers)
    assert again.headers["distillery-upload"] == done.headers["distillery-upload"]
    api.delete(first.headers["location"], headers=V)
    assert api.post("/uploads/resumable", content=b"abc", headers=headers).status_code == 201


def test_a_client_whose_connection_is_cut_five_times_arrives_whole(
    api: httpx.Client, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "big.bin"
    size = 64 << 20
    source.write_bytes(os.urandom(1 << 20) * (size >> 20))
    with Cutting(server.port, after=[(size // 6) * n for n in range(1, 6)]) as proxy:
        client = TusClient(f"http://127.0.0.1:{proxy.port}/uploads/resumable")
        with source.open("rb") as file:
            uploader = client.uploader(file_stream=file, metadata={"filename": "big.bin"}, retries=10, retry_delay=0.1)
            uploader.upload()
        assert proxy.cuts == 5
    upload = api.get(f"/uploads/{str(uploader.url).rpartition('/')[2]}").json()
    with source.open("rb") as file:
        assert upload["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert (upload["filename"], upload["size"]) == ("big.bin", size)
    # What is sent again is little: only what was under way.
    assert proxy.passed < size * 1.25
    with db.session() as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 1
    assert threading.active_count() < 100

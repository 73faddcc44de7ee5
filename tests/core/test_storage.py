"""Files: streamed in constant memory, whole or not there at all, the same for a folder and for S3."""

import asyncio
import errno
import hashlib
import os
import resource
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from core.errors import DigestMismatch, NotFound, TooLarge, Unavailable
from core.settings import settings
from core.storage import Storage, Stored, storage
from tests.core.tiny_s3 import TinyS3

HELLO = b"hello"
SHA256 = hashlib.sha256(HELLO).hexdigest()
KEY = f"blobs/{SHA256[:2]}/{SHA256}"


@pytest.fixture(params=["folder", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A storage of each kind."""
    if request.param == "folder":
        yield Storage((tmp_path / "with space %").as_uri(), tmp_path)
        return
    with TinyS3() as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield Storage("s3://bucket/some/prefix", tmp_path)


async def _stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def receive(files: Storage, *chunks: bytes, max_bytes: int = 1000, expected: str | None = None) -> Stored:
    return asyncio.run(files.receive(_stream(*chunks), max_bytes=max_bytes, expected_sha256=expected))


def kept(files: Storage, tmp_path: Path) -> list[str]:
    """Every file that is stored, and every temporary one that is left."""
    left = [path.name for path in tmp_path.rglob("incoming-*")]
    return [entry.key for prefix in ("blobs", "jobs") for entry in files.list(prefix)] + left


def test_a_stream_is_stored_by_its_content(files: Storage, tmp_path: Path) -> None:
    assert receive(files, b"he", b"", b"llo") == Stored(KEY, SHA256, 5)
    assert b"".join(files.read(KEY)) == HELLO
    assert files.stat(KEY).size == 5
    assert files.exists(KEY)
    assert kept(files, tmp_path) == [KEY]


def test_the_same_bytes_twice_are_one_file(files: Storage, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(HELLO)
    assert receive(files, HELLO) == receive(files, b"hel", b"lo") == files.put_file(tmp_path / "hello")
    assert kept(files, tmp_path) == [KEY]


def test_a_digest_that_fits_is_accepted_in_either_case(files: Storage) -> None:
    assert receive(files, HELLO, expected=SHA256.upper()).sha256 == SHA256


def test_a_wrong_digest_leaves_nothing(files: Storage, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match=SHA256):
        receive(files, HELLO, expected="0" * 64)
    assert kept(files, tmp_path) == []


def test_too_many_bytes_leave_nothing(files: Storage, tmp_path: Path) -> None:
    assert receive(files, HELLO, max_bytes=5).size == 5
    files.delete(KEY)
    with pytest.raises(TooLarge, match="4 bytes"):
        receive(files, HELLO, max_bytes=4)
    assert kept(files, tmp_path) == []


def test_a_stream_that_is_cut_leaves_nothing(files: Storage, tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        raise Cut

    with pytest.raises(Cut):
        asyncio.run(files.receive(cut(), max_bytes=10**9))
    assert kept(files, tmp_path) == []


def test_a_request_that_is_cancelled_leaves_nothing(files: Storage, tmp_path: Path) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        await asyncio.sleep(60)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(files.receive(stuck(), max_bytes=10**9), timeout=0.2)

    asyncio.run(cancelled())
    assert kept(files, tmp_path) == []


def test_two_hundred_megabytes_pass_in_constant_memory(tmp_path: Path) -> None:
    files = Storage(tmp_path.as_uri(), tmp_path)
    chunk = os.urandom(1 << 16)
    whole = hashlib.sha256()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3200):
            whole.update(chunk)
            yield chunk

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    stored = asyncio.run(files.receive(chunks(), max_bytes=10**9))
    size = sum(len(piece) for piece in files.read(stored.key))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (stored.size, stored.sha256) == (3200 << 16, whole.hexdigest())
    assert size == stored.size
    assert peak < 40 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_large_file_goes_there_and_back(files: Storage, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(12_345_678))
    stored = files.put_file(tmp_path / "large")
    fetched = files.fetch(stored.key, tmp_path / "back")
    assert fetched == stored
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()


def test_a_file_of_a_key_is_replaced(files: Storage, tmp_path: Path) -> None:
    key = "jobs/job_A/attempts/1/student.pth"
    for content in (b"one", b"two"):
        (tmp_path / "file").write_bytes(content)
        stored = files.put_file(tmp_path / "file", key)
        assert stored == Stored(key, hashlib.sha256(content).hexdigest(), 3)
        assert b"".join(files.read(key)) == content
    assert kept(files, tmp_path) == [key]
    assert [entry.size for entry in files.list("jobs/job_A")] == [3]
    assert list(files.list("jobs/job_B")) == []


@pytest.mark.parametrize(("start", "end"), [(0, 5), (0, 1), (1, 3), (4, 5), (2, None), (0, 99), (5, None), (3, 3)])
def test_ranges(files: Storage, start: int, end: int | None) -> None:
    receive(files, HELLO)
    assert b"".join(files.read(KEY, start, end)) == HELLO[start:end]


def test_an_empty_file_is_a_file(files: Storage, tmp_path: Path) -> None:
    stored = receive(files)
    assert stored.size == 0
    assert b"".join(files.read(stored.key)) == b""
    assert files.fetch(stored.key, tmp_path / "empty").size == 0
    assert (tmp_path / "empty").read_bytes() == b""


def test_what_is_not_there_is_named(files: Storage, tmp_path: Path) -> None:
    assert not files.exists("blobs/no")
    for missing in (files.stat, files.read, lambda key: files.fetch(key, tmp_path / "x")):
        with pytest.raises(NotFound, match="blobs/no"):
            missing("blobs/no")
    assert not (tmp_path / "x").exists()


def test_deleting_twice_is_deleting_once(files: Storage) -> None:
    receive(files, HELLO)
    files.delete(KEY)
    files.delete(KEY)
    assert not files.exists(KEY)


def test_a_key_never_leads_out_of_the_folder(files: Storage) -> None:
    for key in ("../x", "blobs/../../x", "/etc/passwd", "", "blobs//x", "a b", "blobs/."):
        with pytest.raises(AssertionError, match="not a key"):
            files.exists(key)


def test_a_storage_that_works_answers(files: Storage, tmp_path: Path) -> None:
    files.ping()
    assert kept(files, tmp_path) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Storage(tmp_path.as_uri(), tmp_path)
    # What a kernel says on a full disk; filling a real one would hurt whoever else is on it.
    monkeypatch.setattr(os, "fsync", _raise(errno.ENOSPC))
    with pytest.raises(Unavailable, match="disk is full") as raised:
        receive(files, HELLO)
    assert raised.value.code == "no_space"
    monkeypatch.undo()
    assert kept(files, tmp_path) == []


def _raise(number: int) -> Callable[[int], None]:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_storage_that_is_gone_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TinyS3() as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        files = Storage("s3://bucket/prefix", tmp_path)
        s3.refuses = True
        with pytest.raises(Unavailable) as raised:
            files.stat(KEY)
    assert raised.value.code == "storage_unavailable"


def test_leftovers_of_killed_uploads_are_removed_once_they_are_old(tmp_path: Path) -> None:
    folder = Storage(tmp_path.as_uri(), tmp_path)._spools
    for name, age_s in (("incoming-old", 90_000.0), ("incoming-new", 60.0)):
        (folder / name).write_bytes(b"x")
        stamp = (folder / name).stat().st_mtime - age_s
        os.utime(folder / name, (stamp, stamp))
    Storage(tmp_path.as_uri(), tmp_path)
    assert [path.name for path in folder.iterdir()] == ["incoming-new"]


def test_the_settings_say_where_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert receive(storage(), HELLO).key == KEY
    assert (settings().data_dir / "files" / KEY).read_bytes() == HELLO
    assert storage() is storage()
    monkeypatch.setenv("DISTILLERY_STORAGE_URL", "ftp://host/x")
    settings.cache_clear()
    with pytest.raises(Unavailable, match="DISTILLERY_STORAGE_URL"):
        storage()

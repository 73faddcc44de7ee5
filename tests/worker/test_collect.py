"""What nobody needs is removed after its time, and nothing else is."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from core import db, jobs
from core.settings import settings
from core.storage import storage
from models.tables import IdempotencyKey, Upload
from tests.worker import rows
from tests.worker.rows import Submit
from worker.collect import Collected, collect

DAY_S = 86_400.0


@pytest.fixture
def kept(submit: Submit) -> list[str]:
    """Keys that rows name: a teacher, a data set, an artifact and a checkpoint of an ended job, a job that runs."""
    ended, running = submit([]), submit([])
    claim = rows.claim(ended)
    checkpoint = store(f"jobs/{ended}/checkpoints/1-1.pt", b"checkpoint")
    student = store(f"jobs/{ended}/attempts/1/student.pth", b"student")
    made = jobs.NewArtifact("student.pth", student, 7, "0" * 64, "application/octet-stream")
    with db.session() as session:
        jobs.record(session, claim, [], checkpoint={"key": checkpoint})
        jobs.succeed(session, claim, result={}, artifacts=[made], log="")
    rows.claim(running)
    newer = store(f"jobs/{running}/checkpoints/1-2.pt", b"of a job that runs")
    with db.session() as session:
        inputs = session.scalars(text("SELECT storage_key FROM teachers UNION SELECT storage_key FROM datasets")).all()
    return [checkpoint, student, newer, *inputs]


def store(key: str | None, content: bytes) -> str:
    path = settings().data_dir / "bytes"
    path.write_bytes(content)
    return storage().put_file(path, key).key


def age(days: float) -> None:
    """Everything was stored, and every row made, so long ago."""
    for path in (settings().data_dir / "files").rglob("*"):
        os.utime(path, (time.time() - days * DAY_S,) * 2)
    with db.session() as session:
        for table in ("uploads", "idempotency_keys"):
            session.execute(
                text(f"UPDATE {table} SET created_at = now() - make_interval(days => :days)"), {"days": days}
            )


def present() -> set[str]:
    return {entry.key for folder in ("blobs", "jobs") for entry in storage().list(folder)}


def test_what_no_row_names_goes_after_its_time(kept: list[str]) -> None:
    orphans = [
        store(None, b"an upload whose row was never written"),
        store("jobs/job_GONE/attempts/1/student.pth", b"of a deleted job"),
        store(kept[0].replace("1-1.pt", "1-0.pt"), b"an older checkpoint"),
        store(kept[1].replace("attempts/1", "attempts/2"), b"of a worker that had lost its lease"),
    ]
    age(days=6)
    assert collect() == Collected()
    age(days=8)
    assert collect() == Collected(files=len(orphans))
    assert present() == set(kept)


def test_an_unused_upload_goes_with_its_bytes_and_a_used_one_stays(kept: list[str]) -> None:
    unused = store(None, b"nobody made anything of it")
    with db.session() as session:
        session.add(Upload(id="upl_B", filename="b", size=1, sha256="1" * 64, storage_key=unused))
        session.add(IdempotencyKey(key="k", route="POST /jobs", body_sha256="0" * 64, status=201, headers={}, body=""))
    age(days=8)
    assert collect() == Collected(uploads=1, idempotency_keys=1, files=1)
    with db.session() as session:
        assert session.scalars(text("SELECT id FROM uploads")).all() == ["upl_A"]
    assert present() == set(kept)


def test_equal_bytes_that_come_again_are_young_again(kept: list[str], tmp_path: Path) -> None:
    key = store(None, b"handed in again")
    age(days=8)
    assert store(None, b"handed in again") == key
    collect()
    assert key in present()


def test_one_collects_at_a_time(kept: list[str]) -> None:
    with db.engine().connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": 0x0D157113})
        assert collect() is None
        other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": 0x0D157113})
    assert collect() is not None

"""One check, from the upload to the verdict in the database, with the real converter in its confinement."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sqlalchemy import text

from core import checks, db
from core.settings import settings
from core.storage import storage
from models.spec.students import MLP
from models.spec.teachers import TeacherSpec
from models.status import CheckStatus
from models.tables import Teacher, Upload
from worker.checks import check
from worker.students import mlp

SPEC = TeacherSpec(architecture=MLP(hidden=[8]))

HandIn = Callable[[], str]


@pytest.fixture
def hand_in(database: str, quick: None, tmp_path: Path) -> HandIn:
    """Hands a small teacher in; gives its id."""
    path = tmp_path / "teacher.pth"
    torch.save(mlp.build((4,), 2, hidden=[8]).state_dict(), path)

    def make() -> str:
        stored = storage().put_file(path)
        with db.session() as session:
            row = {"id": "upl_A", "filename": "teacher.pth", "size": stored.size, "sha256": stored.sha256}
            session.add(Upload(**row, storage_key=stored.key))
            session.flush()
            return checks.submit_teacher(session, "small", "upl_A", SPEC).id

    return make


def read(teacher_id: str) -> Teacher:
    with db.session() as session:
        return session.get_one(Teacher, teacher_id)


def test_a_good_teacher_becomes_ready(hand_in: HandIn) -> None:
    teacher_id = hand_in()
    check("teachers", teacher_id)
    teacher = read(teacher_id)
    assert teacher.status is CheckStatus.READY, teacher.report
    assert teacher.meta is not None
    assert teacher.meta["parameters"] == 4 * 8 + 8 + 8 * 2 + 2
    assert teacher.storage_key is not None
    assert storage().stat(teacher.storage_key).size == teacher.size
    assert list((settings().data_dir / "work").iterdir()) == []
    check("teachers", teacher_id)
    assert read(teacher_id).attempt == 1, "what is decided is not checked again"


def test_an_upload_that_is_gone_leaves_the_check_for_another_machine(hand_in: HandIn) -> None:
    teacher_id = hand_in()
    with db.session() as session:
        storage().delete(session.get_one(Upload, "upl_A").storage_key)
    check("teachers", teacher_id)
    assert read(teacher_id).status is CheckStatus.CHECKING


def test_one_that_reaches_a_limit_is_told(hand_in: HandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_CHECK_MAX_SECONDS", "1")
    settings.cache_clear()
    teacher_id = hand_in()
    check("teachers", teacher_id)
    assert (read(teacher_id).status, read(teacher_id).report["checks"][-1]["id"]) == ("rejected", "too_slow")


def test_whoever_loses_the_check_writes_nothing(hand_in: HandIn) -> None:
    teacher_id = hand_in()

    def steal() -> None:
        until = time.monotonic() + 10
        while read(teacher_id).lease_token is None and time.monotonic() < until:
            time.sleep(0.01)
        with db.session() as session:
            session.execute(text("UPDATE teachers SET lease_token = 'another'"))

    thief = threading.Thread(target=steal)
    thief.start()
    check("teachers", teacher_id)
    thief.join()
    teacher = read(teacher_id)
    assert (teacher.status, teacher.lease_token) == (CheckStatus.CHECKING, "another")

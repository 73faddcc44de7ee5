"""Jobs of the first schema, which had one teacher each, keep it on the way up and down again."""

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core import db

_FILLED = """
INSERT INTO uploads (id, filename, size, sha256, storage_key) VALUES ('upl_A', 'a', 1, '0', 'k');
INSERT INTO teachers (id, upload_id, name, status, report, spec, attempt)
    VALUES ('tch_A', 'upl_A', 'a', 'ready', '{}', '{}', 1), ('tch_B', 'upl_A', 'b', 'ready', '{}', '{}', 1);
INSERT INTO datasets (id, upload_id, name, status, report, spec, attempt)
    VALUES ('dst_A', 'upl_A', 'a', 'ready', '{}', '{}', 1);
"""
_JOB = """
INSERT INTO jobs (id, labels, spec, {column} dataset_id, status, desired, progress, attempt, attempts_forgiven,
    max_attempts, ran_s, event_seq, version)
    VALUES ('{id}', '{{}}', '{{}}', {value} 'dst_A', 'queued', 'run', '{{}}', 0, 0, 3, 0, 0, 1)
"""


def _migrate(to: str) -> None:
    with db.migrating() as config:
        (command.downgrade if to == "0001" else command.upgrade)(config, to)


def _run(statement: str) -> None:
    with db.engine().begin() as connection:
        connection.execute(text(statement))


def _teachers(query: str) -> list[tuple[object, ...]]:
    with db.engine().connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def _first_schema_with_jobs() -> None:
    with db.migrating() as config:
        command.upgrade(config, "0001")
    _run(_FILLED)
    for job, teacher in (("job_1", "tch_A"), ("job_2", "tch_B")):
        _run(_JOB.format(id=job, column="teacher_id,", value=f"'{teacher}',"))


def test_each_job_keeps_its_teacher_up_and_down(bare_database: str) -> None:
    _first_schema_with_jobs()
    _migrate("0002")
    kept = "SELECT job_id, place, teacher_id FROM job_teachers ORDER BY job_id"
    assert _teachers(kept) == [("job_1", 0, "tch_A"), ("job_2", 0, "tch_B")]
    with pytest.raises(IntegrityError):
        _run("DELETE FROM teachers WHERE id = 'tch_A'")
    _migrate("0001")
    assert _teachers("SELECT id, teacher_id FROM jobs ORDER BY id") == [("job_1", "tch_A"), ("job_2", "tch_B")]
    with pytest.raises(IntegrityError):
        _run("DELETE FROM teachers WHERE id = 'tch_A'")


@pytest.mark.parametrize(
    "more",
    [
        "INSERT INTO job_teachers (job_id, place, teacher_id) VALUES ('job_1', 1, 'tch_B')",
        "INSERT INTO job_outputs (job_id, place, dataset_id) VALUES ('job_1', 0, 'dst_A')",
        _JOB.format(id="job_3", column="", value=""),
    ],
)
def test_a_job_that_the_first_schema_cannot_hold_keeps_the_second(bare_database: str, more: str) -> None:
    _first_schema_with_jobs()
    _migrate("0002")
    _run(more)
    with pytest.raises(IntegrityError):
        _migrate("0001")
    assert ("job_1", 0, "tch_A") in _teachers("SELECT job_id, place, teacher_id FROM job_teachers")

"""What the tests of jobs start from: a teacher and a data set in the database, and a small spec."""

from collections.abc import Callable
from typing import Any

import pytest

from core import db, jobs
from core.settings import settings
from models.spec.job import JobSpec
from models.status import CheckStatus
from models.tables import Dataset, Job, Teacher, Upload

TEACHER = "tch_A"
DATASET = "dst_A"

Submit = Callable[..., str]


@pytest.fixture
def submit(database: str, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Submits a small job with the limits given; returns its id."""
    # The servers of the tests have just started, and a sweep spares leases for two heartbeats after that.
    monkeypatch.setenv("DISTILLERY_HEARTBEAT_S", "0.01")
    monkeypatch.setenv("DISTILLERY_RETRY_WAIT_S", "0")
    settings.cache_clear()
    with db.session() as session:
        session.add(Upload(id="upl_A", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        ready: dict[str, Any] = {"status": CheckStatus.READY, "upload_id": "upl_A", "spec": {}, "name": "a"}
        session.add(Teacher(id=TEACHER, **ready))
        session.add(Dataset(id=DATASET, **ready))

    def make(**limits: int) -> str:
        with db.session() as session:
            return jobs.submit(session, spec(**limits)).id

    return make


def spec(**limits: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "teacher": TEACHER,
            "dataset": DATASET,
            "student": {"type": "mlp", "hidden": [8]},
            "loss": {"type": "kd", "T": 4},
            "labels": {"team": "vision"},
            "limits": limits,
        }
    )


def read(job_id: str) -> Job:
    """The job as it stands in the database."""
    with db.session() as session:
        return session.get_one(Job, job_id)

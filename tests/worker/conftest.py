"""What the tests of the worker start from: real rows and stored files of a job, and a child that follows a script."""

import json
from pathlib import Path
from typing import Any

import pytest

from core import db, jobs
from core.settings import settings
from core.storage import storage
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.students import MLP
from models.status import CheckStatus
from models.tables import Dataset, Teacher, Upload
from tests.worker.rows import Script, Submit

_TEACHER = TeacherMeta(architecture=MLP(), input_shape=(4,), num_outputs=2, parameters=10)
_DATASET = DatasetMeta(task="tabular_classification", counts={"train": 8}, input_shape=(4,), num_outputs=2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of a tenth of a second where a service has times of seconds."""
    times = {
        "LEASE_S": "5",
        "HEARTBEAT_S": "0.3",
        "WATCH_S": "0.05",
        "CANCEL_GRACE_S": "0.5",
        "DRAIN_GRACE_S": "3",
        "STALL_S": "20",
        "RETRY_WAIT_S": "0",
    }
    for name, value in times.items():
        monkeypatch.setenv(f"DISTILLERY_{name}", value)
    settings.cache_clear()


@pytest.fixture
def submit(database: str, quick: None) -> Submit:
    """Submits a job whose inputs are stored; its children will follow the scripts given, one for each attempt."""
    folder = settings().data_dir.resolve() / "work"
    folder.mkdir(parents=True)
    with db.session() as session:
        session.add(Upload(id="upl_A", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        session.add(Teacher(id="tch_A", **_ready(folder, b"weights", _TEACHER)))
        session.add(Dataset(id="dst_A", **_ready(folder, b"rows", _DATASET)))

    def make(*scripts: Script, **limits: int) -> str:
        (folder / "script.json").write_text(json.dumps(scripts))
        with db.session() as session:
            return jobs.submit(session, _spec(limits)).id

    return make


def _ready(folder: Path, content: bytes, meta: TeacherMeta | DatasetMeta) -> dict[str, Any]:
    (folder / "file").write_bytes(content)
    stored = storage().put_file(folder / "file")
    (folder / "file").unlink()
    return {
        "status": CheckStatus.READY,
        "upload_id": "upl_A",
        "spec": {},
        "name": "a",
        "meta": meta.model_dump(mode="json"),
        "storage_key": stored.key,
        "sha256": stored.sha256,
        "size": stored.size,
    }


def _spec(limits: dict[str, int]) -> JobSpec:
    told = {
        "teacher": "tch_A",
        "dataset": "dst_A",
        "student": {"type": "mlp", "hidden": [8]},
        "loss": {"type": "kd", "T": 4},
        "train": {"batch_size": 64},
        "limits": limits,
    }
    return JobSpec.model_validate(told)

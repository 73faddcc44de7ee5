"""What a claimed job reads: all its teachers and given outputs, with the files and records of each."""

from pathlib import Path
from typing import Any

from core import db, jobs
from core.jobs import Claim
from core.settings import settings
from core.storage import storage
from models.canonical import DatasetMeta, OutputsMeta, Record, TeacherMeta
from models.spec.job import JobSpec
from models.spec.students import MLP
from models.status import CheckStatus
from models.tables import Dataset, Teacher, Upload
from models.work import WorkOrder
from worker.devices import CPU
from worker.stage import Bench, read_inputs, stage

_TEACHER = TeacherMeta(architecture=MLP(), input_shape=(4,), num_outputs=2, parameters=10)
_DATASET = DatasetMeta(task="tabular_classification", counts={"train": 8}, input_shape=(4,), num_outputs=2)
_OUTPUTS = OutputsMeta(num_rows=5, num_outputs=2, classes=["no", "yes"], last_row=7)


def _stored(folder: Path, content: bytes, meta: Record) -> dict[str, Any]:
    (folder / "file").write_bytes(content)
    stored = storage().put_file(folder / "file")
    found: dict[str, Any] = {"status": CheckStatus.READY, "upload_id": "upl_A", "spec": {}, "name": "a"}
    return {
        **found,
        "meta": meta.model_dump(mode="json"),
        "storage_key": stored.key,
        "sha256": stored.sha256,
        "size": stored.size,
    }


def _claimed(folder: Path, teacher: Any) -> Claim:
    settings().data_dir.mkdir(parents=True)
    told = {"dataset": "dst_A", "student": {"type": "mlp", "hidden": [8]}, "loss": {"type": "kd"}, "teacher": teacher}
    with db.session() as session:
        session.add(Upload(id="upl_A", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        for name in ("A", "B", "unused"):
            session.add(Teacher(id=f"tch_{name}", **_stored(folder, f"weights {name}".encode(), _TEACHER)))
        session.add(Dataset(id="dst_A", **_stored(folder, b"samples", _DATASET)))
        session.add(Dataset(id="dst_B", **_stored(folder, b"outputs", _OUTPUTS)))
        session.flush()
        job = jobs.submit(session, JobSpec.model_validate(told))
        claim = jobs.claim(session, worker="test", lease_s=60, job_id=job.id)
    assert claim is not None
    return claim


def test_all_that_an_ensemble_names_is_staged(database: str, tmp_path: Path) -> None:
    members = ["tch_B", {"type": "outputs", "dataset": "dst_B"}, "tch_A"]
    claim = _claimed(tmp_path, {"type": "ensemble", "teachers": members})
    inputs = read_inputs(claim)
    assert (list(inputs.teachers), list(inputs.outputs)) == (["tch_B", "tch_A"], ["dst_B"])
    folder = tmp_path / "job"
    folder.mkdir()
    stage(claim, inputs, folder, Bench(CPU, 1), lambda: None)
    order = WorkOrder.model_validate_json((folder / "job.json").read_text())
    for name, teacher in order.teachers.items():
        assert (folder / teacher.file).read_text() == f"weights {name[-1]}"
        assert teacher.meta == _TEACHER
    assert order.owner == "local"
    assert order.cache_dir == str(settings().data_dir.resolve() / "cache" / "teachers")
    assert order.cache_bytes == settings().teacher_cache_bytes
    assert order.data_memory_bytes > 2**20
    given = order.outputs["dst_B"]
    assert (folder / given.file).read_bytes() == b"outputs"
    assert (given.num_outputs, given.classes) == (2, ["no", "yes"])


def test_a_job_without_a_teacher_reads_the_samples_alone(database: str, tmp_path: Path) -> None:
    inputs = read_inputs(_claimed(tmp_path, {"type": "ema"}))
    assert (inputs.teachers, inputs.outputs, inputs.dataset) == ({}, {}, _DATASET)

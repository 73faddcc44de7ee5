"""A work folder with several teachers and given outputs."""

from pathlib import Path

from core.jobs import Claim
from core.storage import storage
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.students import MLP
from models.work import WorkOrder
from worker.devices import CPU
from worker.stage import Bench, Inputs, OutputsInput, StoredFile, TeacherInput, stage

NETWORK = TeacherMeta(architecture=MLP(), input_shape=(4,), num_outputs=2, parameters=10)
GRAPH = TeacherMeta.model_validate({**NETWORK.model_dump(), "architecture": {"type": "onnx"}})
MEMBERS = [
    {"type": "stored", "id": "tch_A"},
    {"type": "stored", "id": "tch_B"},
    {"type": "outputs", "dataset": "dst_B"},
]
SPEC = {
    "teacher": {"type": "ensemble", "teachers": MEMBERS},
    "dataset": "dst_A",
    "student": {"type": "mlp", "hidden": [2]},
    "loss": {"type": "kd"},
}


def stored(folder: Path, content: bytes) -> StoredFile:
    (folder / "upload").write_bytes(content)
    kept = storage().put_file(folder / "upload")
    return StoredFile(kept.key, kept.sha256, kept.size)


def test_each_teacher_and_each_file_of_outputs_lies_where_the_order_says(tmp_path: Path) -> None:
    inputs = Inputs(
        spec=JobSpec.model_validate(SPEC),
        teachers={
            "tch_A": TeacherInput(NETWORK, stored(tmp_path, b"weights")),
            "tch_B": TeacherInput(GRAPH, stored(tmp_path, b"graph")),
        },
        outputs={"dst_B": OutputsInput(2, ["no", "yes"], stored(tmp_path, b"outputs"))},
        dataset=DatasetMeta(task="tabular_classification", counts={"train": 8}, input_shape=(4,), num_outputs=2),
        dataset_file=stored(tmp_path, b"rows"),
        ran_s=0,
        checkpoint=None,
        previous_error=None,
    )
    folder = tmp_path / "work"
    folder.mkdir()
    stage(Claim("job_A", 1, "token", 60), inputs, folder, Bench(CPU, 1), lambda: None)
    order = WorkOrder.model_validate_json((folder / "job.json").read_bytes())
    found = {name: (folder / staged.file).read_bytes() for name, staged in order.teachers.items()}
    assert found == {"tch_A": b"weights", "tch_B": b"graph"}
    assert {name: staged.file.rpartition(".")[2] for name, staged in order.teachers.items()} == {
        "tch_A": "safetensors",
        "tch_B": "onnx",
    }
    assert {name: staged.sha256 for name, staged in order.teachers.items()} == {
        name: teacher.file.sha256 for name, teacher in inputs.teachers.items()
    }
    given = order.outputs["dst_B"]
    assert (folder / given.file).read_bytes() == b"outputs"
    assert (given.num_outputs, given.classes) == (2, ["no", "yes"])

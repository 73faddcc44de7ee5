"""Work orders for students of any kind, on images and on tables."""

from typing import Any

from models.canonical import Column, DatasetMeta, Target, TeacherMeta
from models.spec.job import JobSpec
from models.spec.students import MLP
from models.work import StagedTeacher, WorkOrder

COUNTS = {"train": 8, "val": 4, "test": 4}
#: Names as users spell them: quotes, line ends, other scripts, and what would end a docstring.
CLASSES = ["cat", 'a "b" \\', "c\nd", '"""', "猫", "'; import os"]
IMAGES = DatasetMeta(
    task="image_classification",
    counts=COUNTS,
    input_shape=(3, 16, 16),
    num_outputs=len(CLASSES),
    classes=CLASSES,
    mean=[0.4, 0.5, 0.6],
    std=[0.2, 0.25, 0.0],
)
GREY = IMAGES.model_copy(update={"input_shape": (1, 28, 28), "mean": [0.28], "std": [0.35]})
COLUMNS = [
    Column(name="age", kind="numeric", mean=40.0, std=10.0, indicator=True),
    Column(name="hours", kind="numeric", mean=38.5, std=4.0),
    Column(name='job "title"', kind="categorical", categories=["nurse", "cook", "None"]),
]
ROWS = DatasetMeta(
    task="tabular_classification",
    counts=COUNTS,
    input_shape=(6,),
    num_outputs=2,
    classes=["no", "yes"],
    columns=COLUMNS,
)
PRICES = ROWS.model_copy(
    update={
        "task": "tabular_regression",
        "num_outputs": 1,
        "classes": [],
        "target": Target(name="price", mean=200.0, std=50.0),
    }
)


def order(student: dict[str, Any], data: DatasetMeta) -> WorkOrder:
    """The order for one attempt; only the student and the data matter to an exporter."""
    job = {"teacher": "tch_1", "dataset": "dst_1", "student": student, "loss": {"type": "kd", "T": 4}}
    teacher = TeacherMeta(architecture=MLP(), input_shape=data.input_shape, num_outputs=2, parameters=1)
    return WorkOrder(
        job_id="job_1",
        attempt=1,
        spec=JobSpec.model_validate(job),
        teachers={"tch_1": StagedTeacher(meta=teacher, sha256="0" * 64, file="teachers/tch_1.safetensors")},
        outputs={},
        dataset=data,
        dataset_sha256="1" * 64,
    )

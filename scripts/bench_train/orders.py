"""Work folders for the engine, and the same tensors for the loops beside it. Images are made with seed 0."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.work import StagedTeacher, WorkOrder
from worker.engine.networks import Network, build_network

_VAL = 64


@dataclass(frozen=True)
class Pair:
    """A teacher and a student, and the data that both see. Shapes: x (N, *shape) uint8 or float32, y (N,)."""

    name: str
    teacher: dict[str, Any]
    student: dict[str, Any]
    shape: tuple[int, ...]
    classes: int
    rows: int
    batch: int = 64

    @property
    def is_images(self) -> bool:
        """Images are augmented; tables are not."""
        return len(self.shape) == 3

    def data(self) -> tuple[Tensor, Tensor]:
        """The training rows."""
        generator = torch.Generator().manual_seed(0)
        size = self.rows + _VAL, *self.shape
        if self.is_images:
            x = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        else:
            x = torch.randn(size, generator=generator)
        return x, torch.randint(0, self.classes, (len(x),), generator=generator)

    def networks(self) -> tuple[Network, Network]:
        """Teacher and student with random weights, the same at each call."""
        torch.manual_seed(0)
        teacher, student = self._record().architecture, JobSpec.model_validate(self._spec(1, {})).student
        assert teacher.type != "onnx"
        return tuple(build_network(one, self.shape, self.classes) for one in (teacher, student))  # type: ignore[return-value]

    def order(self, folder: Path, epochs: int, device: str, **train: Any) -> WorkOrder:
        """The engine's folder, ready to run."""
        (folder / "teachers").mkdir(parents=True)
        x, y = self.data()
        split = torch.zeros(len(x), dtype=torch.uint8)
        split[self.rows :] = 1
        save_file({"x": x, "y": y, "split": split}, folder / "data.safetensors")
        save_file(self.networks()[0].module.state_dict(), folder / "teachers" / "tch_1.safetensors")
        order = WorkOrder(
            job_id="job_bench",
            attempt=1,
            spec=JobSpec.model_validate(self._spec(epochs, train)),
            teachers={"tch_1": StagedTeacher(meta=self._record(), sha256="0" * 64, file="teachers/tch_1.safetensors")},
            outputs={},
            dataset=self._dataset(),
            dataset_sha256="0" * 64,
            device=device,
            threads=torch.get_num_threads(),
        )
        (folder / "job.json").write_text(order.model_dump_json())
        return order

    def _spec(self, epochs: int, train: dict[str, Any]) -> dict[str, Any]:
        augment = {"crop": 4, "flip": True} if self.is_images else "none"
        fixed = {"epochs": epochs, "batch_size": self.batch, "augment": augment, "control": False}
        return {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": self.student,
            "loss": {"type": "kd", "T": 4},
            "train": {**fixed, **train},
            "allow_weak_teacher": True,  # it knows nothing: only the time counts
        }

    def _record(self) -> TeacherMeta:
        return TeacherMeta.model_validate(
            {
                "architecture": self.teacher,
                "input_shape": self.shape,
                "num_outputs": self.classes,
                "parameters": 0,
            }
        )

    def _dataset(self) -> DatasetMeta:
        figures = {"mean": [0.5] * self.shape[0], "std": [0.29] * self.shape[0]} if self.is_images else {}
        columns = (
            {} if self.is_images else {"columns": [{"name": f"c{i}", "kind": "numeric"} for i in range(self.shape[0])]}
        )
        return DatasetMeta.model_validate(
            {
                "task": "image_classification" if self.is_images else "tabular_classification",
                "counts": {"train": self.rows, "val": _VAL, "test": 0},
                "input_shape": self.shape,
                "num_outputs": self.classes,
                "classes": [str(number) for number in range(self.classes)],
                **figures,
                **columns,
            }
        )

"""Work folders on real handwritten digits, small enough to run through in a second or two."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.canonical import DatasetMeta, Target, TeacherMeta
from models.spec.job import JobSpec
from models.work import StagedOutputs, StagedTeacher, WorkOrder
from worker.engine.networks import build_network, count_parameters
from worker.engine.normalise import student_view

#: Rows of each split; the digits are 1,797.
SPLITS = (600, 150, 150)
CLASSES = [str(digit) for digit in range(10)]

#: Outputs that were given: logits (M, C), the rows that they are of (M,), and the names of the classes.
Given = tuple[Tensor, Tensor, list[str]]


def digits(num: Sequence[int] = SPLITS) -> tuple[dict[str, Tensor], DatasetMeta]:
    """The canonical form of the first digits: tensors and record."""
    x, y = _scans()
    x = (x * 15.9375).to(torch.uint8).reshape(-1, 1, 8, 8)  # 0..16 to 0..255
    return _canonical(x, y, num, "image_classification", CLASSES)


def digit_rows(num: Sequence[int] = SPLITS) -> tuple[dict[str, Tensor], DatasetMeta]:
    """The digits as a table of 64 standardised columns."""
    x, y = _scans()
    return _canonical(_standardised(x), y, num, "tabular_classification", CLASSES)


def ink(num: Sequence[int] = SPLITS) -> tuple[dict[str, Tensor], DatasetMeta]:
    """A regression on the digits: the weighted ink of an image, in made-up units far from 0."""
    x, _ = _scans()
    value = 500 + (x * torch.linspace(0, 3, 64)).sum(1)
    mean, std = float(value[: num[0]].mean()), float(value[: num[0]].std())
    tensors, meta = _canonical(_standardised(x), ((value - mean) / std).float(), num, "tabular_regression", [])
    return tensors, meta.model_copy(update={"target": Target(name="ink", mean=mean, std=std), "num_outputs": 1})


@cache
def _scans() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits: pixels 0..16 (N, 64) and labels (N,). Its file is read without its import of 2 s."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return torch.tensor(rows[:, :-1], dtype=torch.float32), torch.tensor(rows[:, -1], dtype=torch.int64)


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0).clamp_min(1e-3)


def _canonical(
    x: Tensor, y: Tensor, num: Sequence[int], task: str, classes: list[str]
) -> tuple[dict[str, Tensor], DatasetMeta]:
    split = torch.cat([torch.full((n,), code, dtype=torch.uint8) for code, n in enumerate(num)])
    # Out of order, as in a real file.
    split = split[torch.randperm(len(split), generator=torch.Generator().manual_seed(0))]
    x, y = x[: len(split)].clone(), y[: len(split)].clone()
    train = x[split == 0].double() / 255
    meta = DatasetMeta.model_validate(
        {
            "task": task,
            "counts": dict(zip(("train", "val", "test"), num, strict=True)),
            "input_shape": tuple(x.shape[1:]),
            "num_outputs": len(classes) or 1,
            "classes": classes,
            "mean": train.mean((0, 2, 3)).tolist() if x.ndim == 4 else [],
            "std": train.std((0, 2, 3)).tolist() if x.ndim == 4 else [],
        }
    )
    return {"x": x, "y": y, "split": split}, meta


def train_teacher(
    tensors: dict[str, Tensor], meta: DatasetMeta, architecture: dict[str, Any], epochs: int = 8
) -> tuple[dict[str, Tensor], TeacherMeta]:
    """A teacher for the data, in plain torch: nothing of the engine but the network and the normalisation."""
    torch.manual_seed(0)
    record = TeacherMeta.model_validate(
        {
            "architecture": architecture,
            "input_shape": meta.input_shape,
            "num_outputs": meta.num_outputs,
            "output_kind": "logits" if meta.classes else "values",
            "parameters": 0,
        }
    )
    assert record.architecture.type != "onnx"
    net = build_network(record.architecture, meta.input_shape, meta.num_outputs).module
    rows = tensors["split"] == 0
    x, y = tensors["x"][rows], tensors["y"][rows]
    x = student_view(meta, torch.device("cpu"))(x) if x.ndim == 4 else x
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for at in torch.split(torch.randperm(len(x)), 64):
            out = net(x[at])
            loss = nn.functional.cross_entropy(out, y[at]) if meta.classes else (out[:, 0] - y[at]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.state_dict(), record.model_copy(update={"parameters": count_parameters(net)})


def spec(**fields: Any) -> dict[str, Any]:
    """A small job: a resnet8 for two epochs by kd; `train` and the rest may be said otherwise."""
    train = {"epochs": 2, "batch_size": 64, "optimizer": {"type": "sgd", "lr": 0.05}, **fields.pop("train", {})}
    student = {"type": "mlp", "hidden": [32], "dropout": 0.1, "batch_norm": True}
    return {
        "teacher": "tch_1",
        "dataset": "dst_1",
        "student": student,
        "loss": {"type": "kd", "T": 4},
        "train": train,
        **fields,
    }


def make_workdir(
    folder: Path,
    data: tuple[dict[str, Tensor], DatasetMeta],
    teacher: tuple[dict[str, Tensor], TeacherMeta] | dict[str, tuple[dict[str, Tensor], TeacherMeta]],
    job: dict[str, Any],
    outputs: dict[str, Given] | None = None,
    **order: Any,
) -> WorkOrder:
    """The folder as the supervisor would have staged it, with one teacher, tch_1, or with several by id."""
    teachers = teacher if isinstance(teacher, dict) else {"tch_1": teacher}
    (folder / "teachers").mkdir(parents=True, exist_ok=True)
    save_file(data[0], folder / "data.safetensors")
    made = WorkOrder(
        job_id="job_test",
        attempt=1,
        spec=JobSpec.model_validate(job),
        teachers={name: stage_teacher(folder, name, taught) for name, taught in teachers.items()},
        outputs={name: stage_outputs(folder, name, given) for name, given in (outputs or {}).items()},
        dataset=data[1],
        dataset_sha256=_sha256(folder / "data.safetensors"),
        **{"threads": 1, **order},
    )
    (folder / "job.json").write_text(made.model_dump_json())
    return made


def stage_teacher(folder: Path, name: str, teacher: tuple[dict[str, Tensor], TeacherMeta]) -> StagedTeacher:
    """A teacher in the work folder; that of a graph gets its file from the test."""
    file = f"teachers/{name}.{'onnx' if teacher[1].architecture.type == 'onnx' else 'safetensors'}"
    save_file({key: x.contiguous() for key, x in teacher[0].items()}, folder / file)
    return StagedTeacher(meta=teacher[1], sha256=_sha256(folder / file), file=file)


def stage_outputs(folder: Path, name: str, given: Given) -> StagedOutputs:
    """Given outputs in the work folder."""
    (folder / "outputs").mkdir(exist_ok=True)
    file, (logits, rows, classes) = f"outputs/{name}.safetensors", given
    save_file({"logits": logits.contiguous(), "rows": rows.contiguous()}, folder / file)
    return StagedOutputs(sha256=_sha256(folder / file), file=file, num_outputs=logits.shape[1], classes=classes)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The data of all events of a kind."""
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line["data"] for line in lines if line["type"] == kind]


def report_of(folder: Path) -> dict[str, Any]:
    """The report of a finished job."""
    found: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text())
    return found


def student_of(folder: Path) -> dict[str, Tensor]:
    """The weights that were handed out."""
    found: dict[str, Tensor] = torch.load(folder / "out" / "student.pth", weights_only=True)
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

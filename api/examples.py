"""The worked examples of the docs page. Those of POST /jobs are filled with a teacher and a data set that are there.

So a person who opens the page after handing in a teacher and a data set can press Execute and gets a job.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.openapi.models import Example
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import fit
from models.canonical import TeacherMeta
from models.spec.job import JobSpec
from models.status import CheckStatus
from models.tables import Dataset, Teacher

#: How many of the newest teachers and data sets are looked through for a pair that fits.
_NEWEST = 10

JOBS: dict[str, Example] = {
    "smallest": {
        "summary": "The smallest job: one loss",
        "description": "Everything else is a default: 30 epochs, 0.1 of the label loss, a control without a teacher.",
        "value": {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
        },
    },
    "kd_and_similarity": {
        "summary": "Two weighted losses, and the training said in full",
        "value": {
            "name": "kd and similarity",
            "labels": {"team": "vision"},
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 14},
            "loss": [{"type": "kd", "T": 4, "weight": 0.9}, {"type": "similarity", "weight": 0.5}],
            "hard": 0.1,
            "train": {
                "epochs": 20,
                "batch_size": 64,
                "optimizer": {"type": "sgd", "lr": 0.05},
                "schedule": {"type": "cosine", "warmup_epochs": 1},
                "seed": 0,
            },
            "export": ["pth"],
            "limits": {"max_seconds": 7200, "max_attempts": 3},
        },
    },
    "hint_with_taps": {
        "summary": "Features: the student's last stage learns from the teacher's",
        "description": "The report of a teacher lists its points; a wrong name is answered with the right ones.",
        "value": {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": [{"type": "hint", "taps": [{"student": "layer3", "teacher": "layer3"}]}, {"type": "kd", "T": 4}],
        },
    },
    "tabular": {
        "summary": "A table: a small perceptron learns from a large one",
        "value": {
            "name": "small mlp",
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "mlp", "hidden": [64, 32]},
            "loss": {"type": "logits_mse"},
            "train": {"epochs": 20, "optimizer": {"type": "adam", "lr": 0.001}},
        },
    },
}

TEACHERS: dict[str, Example] = {
    "state_dict": {
        "summary": "A checkpoint of a network on the menu",
        "value": {
            "name": "resnet20",
            "upload": "upl_1",
            "architecture": {"type": "resnet", "depth": 20},
            "accuracy": 0.92,
        },
    },
    "timm": {
        "summary": "A checkpoint of a timm model, with foreign key names",
        "value": {
            "name": "resnet18",
            "upload": "upl_1",
            "architecture": {"type": "timm", "name": "resnet18"},
            "input": {"preset": "imagenet", "size": [224, 224]},
            "rename": [["^backbone\\.", ""]],
        },
    },
    "onnx": {
        "summary": "An ONNX graph of any make",
        "value": {
            "name": "graph",
            "upload": "upl_1",
            "architecture": {"type": "onnx"},
            "input": {"layout": "NCHW", "range": [0, 1], "mean": [0.5], "std": [0.5]},
        },
    },
    "mlp": {
        "summary": "A perceptron for a table",
        "value": {"name": "mlp", "upload": "upl_1", "architecture": {"type": "mlp", "hidden": [256, 128]}},
    },
}

DATASETS: dict[str, Example] = {
    "images": {
        "summary": "Images: class folders, arrays or IDX files, told by their content",
        "value": {"name": "photos", "upload": "upl_1", "task": "image_classification"},
    },
    "table": {
        "summary": "A table with a named target",
        "value": {
            "name": "adult",
            "upload": "upl_1",
            "task": "tabular_classification",
            "format": "csv",
            "table": {"target": "income"},
            "split": {"val": 0.1, "test": 0.2, "seed": 0},
        },
    },
    "regression": {
        "summary": "A number to predict",
        "value": {
            "name": "houses",
            "upload": "upl_1",
            "task": "tabular_regression",
            "table": {"target": "price"},
        },
    },
}

RETRIES: dict[str, Example] = {
    "start": {"summary": "From the start", "value": {"from": "start"}},
    "checkpoint": {"summary": "From the last checkpoint", "value": {"from": "checkpoint"}},
}


def filled(session: Session) -> dict[str, Example]:
    """The examples of POST /jobs: first those that work as they stand, with real ids; then the rest."""
    pairs = list(_pairs(session))
    ready: dict[str, Example] = {}
    for name, example in JOBS.items():
        if value := next(_fitting(example["value"], pairs), None):
            ready[name] = {**example, "value": value}
    return {**ready, **{name: example for name, example in JOBS.items() if name not in ready}}


def _pairs(session: Session) -> Iterator[tuple[Teacher, Dataset]]:
    teachers = select(Teacher).where(Teacher.status == CheckStatus.READY).order_by(Teacher.created_at.desc())
    datasets = select(Dataset).where(Dataset.status == CheckStatus.READY).order_by(Dataset.created_at.desc())
    usable = list(session.scalars(datasets.limit(_NEWEST)))
    for teacher in session.scalars(teachers.limit(_NEWEST)):
        for dataset in usable:
            yield teacher, dataset


def _fitting(value: Any, pairs: list[tuple[Teacher, Dataset]]) -> Iterator[dict[str, Any]]:
    """The example with the ids of each pair that it would run with."""
    for teacher, dataset in pairs:
        body = {**value, "teacher": teacher.id, "dataset": dataset.id}
        body["loss"] = _with_points(body, TeacherMeta.model_validate(teacher.meta))
        if not fit.faults(JobSpec.model_validate(body), teacher, dataset):
            yield body


def _with_points(body: Mapping[str, Any], teacher: TeacherMeta) -> Any:
    """The losses, with the last feature point of this student and of this teacher where the example names any."""
    stages = JobSpec.model_validate(body).student.stage_names()
    if not stages or not teacher.taps or not isinstance(body["loss"], list):
        return body["loss"]
    points = [{"student": stages[-1], "teacher": teacher.taps[-1].name}]
    return [{**term, "taps": points} if "taps" in term else term for term in body["loss"]]

"""The worked examples of the docs page. Those of POST /jobs are filled with teachers and data sets that are there.

So a person who opens the page after handing in a teacher and a data set can press Execute and gets a job.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import Any

from fastapi.openapi.models import Example
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import fit
from api.fitting.parts import members
from api.fitting.rows import Rows
from models.canonical import TeacherMeta
from models.spec.job import JobSpec
from models.status import CheckStatus
from models.tables import Dataset, Teacher

#: How many of the newest teachers and data sets are looked through for those that fit.
_NEWEST = 10
#: How many choices of them are tried for one example: the page must not wait for it.
_MOST_TRIED = 300

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
    "ensemble": {
        "summary": "Two teachers: their outputs together, and the features of one of them",
        "description": "A loss that names its `teacher` listens to that one; the others hear the combination.",
        "value": {
            "teacher": {"type": "ensemble", "teachers": ["tch_1", "tch_2"], "combine": "entropy"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": [{"type": "kd", "T": 4}, {"type": "hint", "teacher": "tch_1", "weight": 0.5}],
        },
    },
    "outputs": {
        "summary": "A teacher that cannot be handed in: the outputs that it gave",
        "description": "They are a data set of task `teacher_outputs`. Rows without any are trained by their labels.",
        "value": {
            "teacher": {"type": "outputs", "dataset": "dst_2"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
        },
    },
    "class_map": {
        "summary": "A teacher of other classes: those that both have by name",
        "value": {
            "teacher": {"type": "stored", "id": "tch_1", "classes": "by_name"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
            "hard": 0.5,
        },
    },
    "assistant": {
        "summary": "An assistant between a large teacher and a small student",
        "description": "What an assistant leaves out is the job's own. Each is handed out beside the student.",
        "value": {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "assistants": [{"student": {"type": "resnet", "depth": 14}}],
            "loss": {"type": "kd", "T": 4},
        },
    },
    "born_again": {
        "summary": "Generations: each student teaches the next",
        "value": {
            "teacher": {"type": "born_again", "generations": 3, "teacher": "tch_1"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 2},
            "hard": 0.5,
        },
    },
    "snapshot": {
        "summary": "No teacher: the student as it was some epochs ago",
        "value": {
            "teacher": {"type": "snapshot", "every": 5},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 2},
        },
    },
    "ema": {
        "summary": "No teacher: a running average of the student",
        "value": {
            "teacher": {"type": "ema", "decay": 0.999},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 2},
        },
    },
    "peers": {
        "summary": "No teacher: students that teach each other",
        "value": {
            "teacher": {"type": "peers", "students": [{"type": "resnet", "depth": 14}]},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 1},
        },
    },
    "branches": {
        "summary": "No teacher: the last layers teach the stages before them",
        "value": {
            "teacher": {"type": "branches"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 3},
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
    there = _there(session)
    ready: dict[str, Example] = {}
    for name, example in JOBS.items():
        if value := next(_fitting(example["value"], there), None):
            ready[name] = {**example, "value": value}
    return {**ready, **{name: example for name, example in JOBS.items() if name not in ready}}


@dataclass(frozen=True)
class _There:
    """The newest of what can be used, newest first, by id."""

    teachers: Mapping[str, Teacher]
    datasets: Mapping[str, Dataset]
    outputs: Mapping[str, Dataset]


def _there(session: Session) -> _There:
    is_outputs = Dataset.meta["task"].astext == "teacher_outputs"
    teachers = select(Teacher).where(Teacher.status == CheckStatus.READY).order_by(Teacher.created_at.desc())
    datasets = select(Dataset).where(Dataset.status == CheckStatus.READY).order_by(Dataset.created_at.desc())
    return _There(
        {row.id: row for row in session.scalars(teachers.limit(_NEWEST))},
        {row.id: row for row in session.scalars(datasets.where(~is_outputs).limit(_NEWEST))},
        {row.id: row for row in session.scalars(datasets.where(is_outputs).limit(_NEWEST))},
    )


def _fitting(value: Any, there: _There) -> Iterator[dict[str, Any]]:
    """The example with the ids of all that it would run with."""
    for names in islice(_choices(value, there), _MOST_TRIED):
        body = _renamed(value, names)
        rows = Rows(there.datasets[body["dataset"]], there.teachers, there.outputs)
        body["loss"] = _with_points(body, rows)
        if not fit.faults(JobSpec.model_validate(body), rows):
            yield body


def _choices(value: Any, there: _There) -> Iterator[dict[str, str]]:
    """Real ids for those in the example: its first data set is to train on, a second one has given outputs."""
    named = sorted(set(re.findall(r"(?:tch|dst)_\d", json.dumps(value))))
    teachers = [name for name in named if name.startswith("tch")]
    outputs = [name for name in named if name.startswith("dst") and name != "dst_1"]
    chosen = product(
        permutations(there.teachers, len(teachers)), there.datasets, permutations(there.outputs, len(outputs))
    )
    for some_teachers, dataset, some_outputs in chosen:
        real = (*some_teachers, dataset, *some_outputs)
        yield dict(zip([*teachers, "dst_1", *outputs], real, strict=True))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same with other ids."""
    match value:
        case dict():
            return {key: _renamed(inner, names) for key, inner in value.items()}
        case list():
            return [_renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def _with_points(body: Mapping[str, Any], rows: Rows) -> Any:
    """The losses, with the last feature point of this student and of its teacher where the example names any."""
    spec = JobSpec.model_validate(body)
    stages, handed_in = spec.student.stage_names(), members(spec)
    teacher = rows.of(handed_in[0]) if handed_in else None
    if not stages or not isinstance(teacher, TeacherMeta) or not teacher.taps or not isinstance(body["loss"], list):
        return body["loss"]
    points = [{"student": stages[-1], "teacher": teacher.taps[-1].name}]
    return [{**term, "taps": points} if "taps" in term else term for term in body["loss"]]

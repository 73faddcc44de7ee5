"""Rules between fields: the document's schema says of each body what the model says of it."""

from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, ValidationError

from api.main import create_app
from api.schemas import DatasetCreate, TeacherCreate
from models.spec.job import JobSpec

DOCUMENT: dict[str, Any] = create_app().openapi()
JOB: dict[str, Any] = {"teacher": "tch_1", "dataset": "dst_1", "student": {"type": "mlp"}, "loss": {"type": "kd"}}
TEACHER = {"name": "a", "upload": "upl_1"}
DATASET: dict[str, Any] = {"name": "a", "upload": "upl_1", "task": "image_classification"}
TWO = ["tch_1", "tch_2"]
HINT = {"type": "hint"}


def ensemble(**more: Any) -> dict[str, Any]:
    return {"type": "ensemble", "teachers": TWO, **more}


def sgd(**more: Any) -> dict[str, Any]:
    return {"train": {"optimizer": {"type": "sgd", **more}}}


def assisted(*losses: Any) -> list[dict[str, Any]]:
    return [{"student": {"type": "mlp"}, "loss": loss} for loss in losses]


NAMES = {"type": "kd", "teacher": "tch_1"}

#: A body, and whether it is one that can be taken.
JOBS: list[tuple[bool, dict[str, Any]]] = [
    (True, {}),
    (True, {"student": {"type": "resnet", "depth": 20}}),
    (False, {"student": {"type": "resnet", "depth": 21}}),
    (True, {"student": {"type": "wide_resnet", "depth": 16}}),
    (False, {"student": {"type": "wide_resnet", "depth": 20}}),
    (True, {"student": {"type": "timm", "name": "resnet18", "kwargs": {"drop_rate": 0.1}}}),
    (False, {"student": {"type": "timm", "name": "resnet18", "kwargs": {"pretrained": True}}}),
    (True, sgd(momentum=0, nesterov=False)),
    (False, sgd(momentum=0)),
    (False, sgd(momentum=0.0, nesterov=True)),
    (False, {"train": {"schedule": {"type": "step", "milestones": [0.5, 0.5]}}}),
    (True, {"train": {"mixup": 0.2}}),
    (True, {"train": {"mixup": None, "teacher_cache": {"views": 2}}}),
    (False, {"train": {"mixup": 0.2, "teacher_cache": {"views": 2}}}),
    (True, {"teacher": ensemble()}),
    (True, {"teacher": ensemble(weights=None)}),
    (True, {"teacher": ensemble(combine="weights", weights=[1, 2])}),
    (False, {"teacher": ensemble(combine="weights")}),
    (False, {"teacher": ensemble(combine="weights", weights=None)}),
    (False, {"teacher": ensemble(combine="weights", weights=[1, 2, 3])}),
    (False, {"teacher": ensemble(weights=[1, 2])}),
    (False, {"teacher": {"type": "ensemble", "teachers": ["tch_1", "tch_1"]}}),
    (True, {"teacher": {"type": "born_again", "generations": 1, "teacher": "tch_1"}}),
    (False, {"teacher": {"type": "born_again", "generations": 1}}),
    (True, {"teacher": {"type": "born_again", "teacher": {"type": "stored", "id": "tch_1"}}}),
    (False, {"teacher": {"type": "born_again", "teacher": {"id": "tch_1"}}}),
    (False, {"loss": NAMES}),
    (False, {"loss": [{"type": "kd"}, NAMES]}),
    (True, {"teacher": ensemble(), "loss": [NAMES]}),
    (False, {"teacher": ensemble(), "loss": NAMES, "assistants": assisted({"type": "kd"})}),
    (True, {"teacher": ensemble(), "assistants": assisted(NAMES, {"type": "kd"})}),
    (False, {"teacher": ensemble(), "assistants": assisted(NAMES, NAMES)}),
    (False, {"assistants": assisted([NAMES])}),
    (False, {"teacher": ensemble(), "loss": HINT}),
    (True, {"teacher": ensemble(), "loss": {**HINT, "teacher": "tch_2"}}),
    (True, {"teacher": {"type": "outputs", "dataset": "dst_2"}}),
    (False, {"teacher": {"type": "outputs", "dataset": "dst_2"}, "loss": [HINT]}),
    (True, {"teacher": {"type": "outputs", "dataset": "dst_2"}, "loss": HINT, "assistants": assisted({"type": "kd"})}),
    (True, {"teacher": {"type": "ema"}}),
    (False, {"teacher": {"type": "ema"}, "hard": 0}),
    (False, {"teacher": {"type": "ema"}, "assistants": assisted({"type": "kd"})}),
    (True, {"hard": 0}),
]
DATASETS: list[tuple[bool, dict[str, Any]]] = [
    (True, {}),
    (False, {"labels": "none"}),
    (False, {"labels": "none", "classes": None}),
    (True, {"labels": "none", "classes": ["a", "b"]}),
    (True, {"labels": "none", "task": "tabular_regression"}),
    (False, {"labels": "none", "task": "tabular_regression", "table": {"target": "y"}}),
    (False, {"labels": "none", "classes": ["a", "b"], "table": {"target": "y"}}),
    (True, {"labels": "none", "task": "teacher_outputs", "table": {"target": "y"}}),
]
TEACHERS: list[tuple[bool, dict[str, Any]]] = [
    (True, {"architecture": {"type": "resnet", "depth": 56}}),
    (False, {"architecture": {"type": "resnet", "depth": 57}}),
]
CASES: list[tuple[type[BaseModel], dict[str, Any], bool]] = [
    *((JobSpec, {**JOB, **more}, good) for good, more in JOBS),
    *((DatasetCreate, {**DATASET, **more}, good) for good, more in DATASETS),
    *((TeacherCreate, {**TEACHER, **more}, good) for good, more in TEACHERS),
]


@pytest.mark.parametrize(("model", "body", "good"), CASES)
def test_the_document_says_what_the_model_keeps(model: type[BaseModel], body: dict[str, Any], good: bool) -> None:
    schema = {"$ref": f"#/components/schemas/{model.__name__}", "components": DOCUMENT["components"]}
    assert jsonschema_rs.is_valid(schema, body) is good
    try:
        model.model_validate(body)
        taken = True
    except ValidationError:
        taken = False
    assert taken is good


def test_text_that_cannot_be_stored_is_not_well_formed() -> None:
    schema = {"$ref": "#/components/schemas/TeacherCreate", "components": DOCUMENT["components"]}
    body = {**TEACHER, "architecture": {"type": "resnet", "depth": 20}, "rename": [["a", "b"]]}
    assert jsonschema_rs.is_valid(schema, body)
    assert not jsonschema_rs.is_valid(schema, {**body, "rename": [["a", "b\x00"]]})

"""Ways of teaching that make no sense are refused before anything runs, each at its field and with its code."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from scripts.client import Client
from scripts.stack import Stack
from tests.acceptance.regimes import KD, STUDENT

pytestmark = pytest.mark.acceptance

Json = dict[str, Any]

BOTH: Json = {"type": "ensemble", "teachers": ["$wide", "$graph"]}
GIVEN: Json = {"type": "outputs", "dataset": "$given"}
PEERS: Json = {"type": "peers", "students": [STUDENT]}

#: What is changed of a job that is fine, the code, and the fields that are at fault.
REFUSED: dict[str, tuple[Json, str, list[str]]] = {
    "other outputs": ({"teacher": "$parity"}, "class_count_differs", ["/teacher"]),
    "no names to go by": (
        {"teacher": {"type": "stored", "id": "$wide", "classes": "by_name"}},
        "class_map",
        ["/teacher/classes"],
    ),
    "a class that the teacher lacks": (
        {"teacher": {"type": "stored", "id": "$few", "classes": {"1": "one", "7": "sevn"}}},
        "class_map",
        ["/teacher/classes/7"],
    ),
    "no such member": (
        {"teacher": {**BOTH, "teachers": ["$wide", "tch_0"]}},
        "unknown_teacher",
        ["/teacher/teachers/1"],
    ),
    "a member of other classes": (
        {"teacher": {**BOTH, "teachers": ["$wide", "$parity"]}},
        "class_count_differs",
        ["/teacher/teachers/1"],
    ),
    "features of all at once": ({"teacher": BOTH, "loss": [KD, {"type": "hint"}]}, "invalid", ["/loss/1"]),
    "a loss that names a stranger": ({"teacher": BOTH, "loss": [{**KD, "teacher": "$conv"}]}, "invalid", ["/loss/0"]),
    "features of given outputs": ({"teacher": GIVEN, "loss": [{"type": "hint"}]}, "invalid", ["/loss/0"]),
    "mixtures of given outputs": ({"teacher": GIVEN, "train": {"mixup": 0.2}}, "invalid", ["/train"]),
    "outputs to train on": ({"dataset": "$given"}, "outputs_as_dataset", ["/dataset"]),
    "data as outputs": ({"teacher": {**GIVEN, "dataset": "$digits"}}, "dataset_as_outputs", ["/teacher/dataset"]),
    "labels that are not there": (
        {"dataset": "$few labels", "loss": [{"type": "dkd"}]},
        "needs_labels",
        ["/loss/0/type"],
    ),
    "nobody who knows": ({"dataset": "$no labels", "teacher": {"type": "born_again"}}, "needs_labels", ["/teacher"]),
    "weighed by labels": (
        {"dataset": "$few labels", "teacher": {**BOTH, "combine": "cross_entropy"}},
        "needs_labels",
        ["/teacher/combine"],
    ),
    "one generation": ({"teacher": {"type": "born_again", "generations": 1}}, "invalid", ["/teacher"]),
    "a snapshot too late": (
        {"teacher": {"type": "snapshot", "every": 9}, "train": {"epochs": 9}},
        "invalid",
        ["/train"],
    ),
    "nobody who learns from labels": ({"teacher": {"type": "ema"}, "hard": 0}, "invalid", ["/hard"]),
    "assistants of nobody": ({"teacher": PEERS, "assistants": [{"student": STUDENT}]}, "invalid", ["/assistants"]),
    "a peer that is not on the menu": (
        {"teacher": {**PEERS, "students": [{"type": "oracle"}]}},
        "invalid",
        ["/teacher/students/0/type"],
    ),
    "no stage for an exit": (
        {"teacher": {"type": "branches"}, "student": {"type": "mlp", "hidden": [8]}},
        "invalid",
        ["/student"],
    ),
}


def filled(node: Any, ids: dict[str, str]) -> Any:
    """The same with the id of each `$name`."""
    if isinstance(node, dict):
        return {key: filled(value, ids) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, ids) for value in node]
    return ids[node.removeprefix("$")] if isinstance(node, str) and node.startswith("$") else node


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_at_its_field(stack: Stack, client: Client, ids: dict[str, str], name: str) -> None:
    changes, code, pointers = REFUSED[name]
    body = filled({"teacher": "$wide", "dataset": "$digits", "student": STUDENT, "loss": KD, **changes}, ids)
    answer = httpx.post(f"{stack.url}/jobs", json=body, trust_env=False)
    said = answer.json()
    assert (answer.status_code, said["code"]) == (422, code), said
    assert [error["pointer"] for error in said["errors"]] == pointers
    assert all(error["message"].strip() for error in said["errors"])
    assert not client.post("/jobs/validate", body)["valid"]


def test_outputs_of_another_data_set_are_refused(
    stack: Stack, client: Client, ids: dict[str, str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "beyond.npz", logits=np.zeros((2, 10), np.float32), rows=np.array([0, 1797]))
    beyond = client.ready(client.dataset("beyond", tmp_path / "beyond.npz", "teacher_outputs"))
    teacher = {"type": "outputs", "dataset": beyond["id"]}
    body = {"teacher": teacher, "dataset": ids["digits"], "student": STUDENT, "loss": KD}
    said = httpx.post(f"{stack.url}/jobs", json=body, trust_env=False).json()
    assert said["code"] == "outputs_do_not_fit"
    assert [error["pointer"] for error in said["errors"]] == ["/teacher/dataset"]

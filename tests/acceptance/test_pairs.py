"""What POST /jobs/validate says of the feature points is what the engine then does."""

from typing import Any

import pytest

from scripts.client import Client


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "student",
    [
        {"type": "mlp", "hidden": [24, 12]},
        {"type": "resnet", "depth": 8},
        {"type": "layers", "layers": [{"type": "conv", "out": 4}, {"type": "relu"}, {"type": "max_pool"}]},
    ],
    ids=lambda student: student["type"],
)
def test_the_engine_pairs_what_validate_shows(client: Client, ready: dict[str, str], student: dict[str, Any]) -> None:
    train = {"epochs": 1, "control": False}
    body = {**ready, "student": student, "loss": [{"type": "kd"}, {"type": "hint"}], "train": train}
    said = client.post("/jobs/validate", body)
    assert said["valid"], said
    job = client.ended(client.post("/jobs", body)["id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["taps"]["hint"] == [
        {name: pair[name] for name in ("student", "teacher")} for pair in said["pairs"]["/loss/1"]
    ]

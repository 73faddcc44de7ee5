"""Estimates of networks that never ran, before and after they have: told from other jobs, and how far off they were."""

from typing import Any

import pytest

from scripts.client import Client

pytestmark = pytest.mark.acceptance

Json = dict[str, Any]

MLP: Json = {"type": "mlp", "hidden": [40]}
CHAIN: Json = {"assistants": [{"student": {"type": "mlp", "hidden": [48, 32]}}]}
OFF = ("ran_s", "ratio", "within", "peak_bytes", "memory_ratio")


def body(ready: dict[str, str], student: Json, **more: Any) -> Json:
    train = {"epochs": 5, "batch_size": 64, **more.pop("train", {})}
    return {**ready, "student": student, "loss": {"type": "kd", "T": 2}, "train": train, **more}


@pytest.fixture(scope="module")
def measured(client: Client, ready: dict[str, str]) -> Json:
    """A job that others can be told from."""
    return client.ended(client.post("/jobs", body(ready, MLP))["id"])


def ran(client: Client, posted: Json) -> Json:
    """The estimate of a job, once it has succeeded."""
    job = client.ended(posted["id"])
    assert (job["status"], job["error"]) == ("succeeded", None)
    found: Json = job["estimate"]
    return found


def test_the_report_counts_every_network(measured: Json) -> None:
    assert measured["status"] == "succeeded"
    assert measured["result"]["flops"] == dict.fromkeys(("student", "control"), 2 * (64 * 40 + 40 * 10))


@pytest.mark.parametrize(
    ("student", "more"),
    [
        ({"type": "layers", "layers": [{"type": "conv", "out": 4}, {"type": "relu"}]}, {}),
        ({**MLP, "hidden": [41]}, CHAIN),
    ],
    ids=["another family", "an assistant"],
)
def test_a_network_that_never_ran_is_scaled_and_the_job_shows_how_far_off(
    client: Client, ready: dict[str, str], measured: Json, student: Json, more: Json
) -> None:
    told = client.post("/jobs/validate", body(ready, student, **more))["estimate"]
    assert told["basis"] == "scaled"
    assert told["seconds"]["high"] > 2 * told["seconds"]["low"]
    assert "never measured" in told["reason"]
    found = ran(client, client.post("/jobs", body(ready, student, **more)))
    assert all(found[name] is not None for name in OFF)
    assert found["ran_s"] > 0
    again = client.post("/jobs/validate", body(ready, student, train={"epochs": 9}, **more))["estimate"]
    assert again["basis"] == "measured"


def test_a_retry_is_estimated_too(client: Client, measured: Json) -> None:
    again = client.post(f"/jobs/{measured['id']}/retry", {"from": "start"})
    assert again["estimate"]["basis"] == "measured"
    found = ran(client, again)
    assert all(found[name] is not None for name in OFF)


def test_what_only_the_library_can_build_is_not_guessed(client: Client, ready: dict[str, str], measured: Json) -> None:
    told = client.post("/jobs/validate", body(ready, {"type": "timm", "name": "test_resnet"}))
    assert told["valid"]
    assert (told["estimate"]["basis"], told["estimate"]["seconds"]) == ("none", None)
    assert "the student `timm`" in told["estimate"]["reason"]

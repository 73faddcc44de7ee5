"""A check made again by the running service: what was ready stays usable meanwhile, and is ready by today's rules."""

import time
from pathlib import Path

import pytest

from models.canonical import RULES
from scripts.client import Client, Json

pytestmark = pytest.mark.acceptance


def again(client: Client, path: str) -> Json:
    """The thing, once its new verdict is there."""
    thing = client.post(f"{path}/recheck")
    assert thing["status"] == "ready", "the present verdict counts meanwhile"
    until = time.monotonic() + 120
    while thing["is_rechecking"] and time.monotonic() < until:
        time.sleep(0.1)
        thing = client.get(path)
    assert not thing["is_rechecking"]
    return thing


def test_what_is_ready_is_ready_again_and_still_teaches(client: Client, ready: dict[str, str], tmp_path: Path) -> None:
    for path in (f"/teachers/{ready['teacher']}", f"/datasets/{ready['dataset']}"):
        before, after = client.get(path), again(client, path)
        assert after["checked_at"] > before["checked_at"]
        assert (after["status"], after["report"]["rules"], after["report"]["outdated"]) == ("ready", RULES, False)
        assert after["report"]["checks"] == before["report"]["checks"]
    loss, train = {"type": "kd", "T": 4}, {"epochs": 1}
    job = client.post("/jobs", {**ready, "student": {"type": "mlp", "hidden": [8]}, "loss": loss, "train": train})
    assert client.ended(job["id"])["status"] == "succeeded"
    client.download(f"/jobs/{job['id']}/student.pth", tmp_path / "student.pth")

"""The main job over HTTP: files in, a student out, every step as a user sees it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.client import Client
from tests.acceptance.processes import seen

pytestmark = pytest.mark.acceptance

SCORE = Path(__file__).resolve().parents[2] / "scripts" / "score.py"


@pytest.fixture(scope="module")
def done(client: Client, ready: dict[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A job that has succeeded, and its events as the stream brought them."""
    body = {**ready, "student": {"type": "mlp", "hidden": [16]}, "loss": {"type": "kd", "T": 4}}
    job = client.post("/jobs", {**body, "train": {"epochs": 20, "batch_size": 64}})
    events = list(client.events(job["id"]))
    return client.get(f"/jobs/{job['id']}"), events


def test_the_job_succeeds(done: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    job, _ = done
    assert (job["status"], job["error"], job["attempt"]) == ("succeeded", None, 1)
    assert job["result"]["test"]["student"]["accuracy"] > 0.8
    assert {each["name"] for each in job["artifacts"]} == {"student.pth", "student.py", "report.json", "manifest.json"}


def test_the_stream_has_no_gap_and_ends_with_the_job(
    client: Client, done: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    job, events = done
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "succeeded"
    phases = [data["phase"] for data in seen(events, "phase")]
    assert phases[0] == "staging"
    assert phases[-1] == "publishing"
    listed = client.get(f"/jobs/{job['id']}/events?limit=1000")["items"]
    assert listed == events


def test_progress_never_goes_back(done: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    percents = [data["percent"] for data in seen(done[1], "progress")]
    assert percents == sorted(percents)


def test_a_resumed_download_is_the_file_and_scores_what_is_reported(
    client: Client, done: tuple[dict[str, Any], list[dict[str, Any]]], files: Path, tmp_path: Path
) -> None:
    job, _ = done
    listed = {each["name"]: each for each in job["artifacts"]}
    size = listed["student.pth"]["size"]
    digest = client.download(f"/jobs/{job['id']}/student.pth", tmp_path / "student.pth", cut_at=size // 2)
    assert digest == listed["student.pth"]["sha256"]
    assert digest == hashlib.sha256((tmp_path / "student.pth").read_bytes()).hexdigest()
    assert all(isinstance(value, torch.Tensor) for value in torch.load(tmp_path / "student.pth").values())
    client.download(listed["student.py"]["url"], tmp_path / "student.py")
    scored = subprocess.run(
        [sys.executable, "-I", SCORE, tmp_path, "npz", files / "digits.npz"], capture_output=True, text=True, check=True
    )
    assert json.loads(scored.stdout)["accuracy"] == pytest.approx(job["result"]["test"]["student"]["accuracy"])


def test_the_log_is_kept(client: Client, done: tuple[dict[str, Any], list[dict[str, Any]]], stack: Any) -> None:
    assert not list((stack.data_dir / "work").iterdir()), "nor is anything left in the work folder"
    assert client.get(f"/jobs/{done[0]['id']}")["is_terminal"]


def test_what_it_took_is_reported_and_the_next_one_is_estimated_from_it(
    client: Client, done: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    first, _ = done
    assert first["result"]["timings"]["training"] > 0
    assert first["result"]["memory"]["peak_bytes"] > 50 * 2**20
    assert first["estimate"]["basis"] in {"none", "scaled", "measured"}
    body = {name: first["spec"][name] for name in ("teacher", "dataset", "student", "loss", "train")}
    told = client.post("/jobs/validate", body)["estimate"]
    assert told["basis"] == "measured"
    assert told["seconds"]["low"] < told["seconds"]["likely"] < told["seconds"]["high"]
    job = client.post("/jobs", body)
    assert list(client.events(job["id"]))[-1]["type"] == "succeeded"
    second = client.get(f"/jobs/{job['id']}")
    assert second["estimate"]["seconds"] is not None
    assert second["estimate"]["ran_s"] > 0
    assert 0.1 < second["estimate"]["ratio"] < 10, "the same job took about as long"

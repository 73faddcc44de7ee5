"""The service under test: real processes, a key, and things of each kind to ask for. Nothing trains there.

A worker checks teachers and data of real digits and runs one job; then it is stopped, so that what the requests make
stays queued and costs a row each.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from prometheus_client.parser import text_string_to_metric_families

from scripts.client import Client
from scripts.demo import digits
from scripts.stack import Stack
from worker.students import mlp

#: The requests must find neither a limit of rate nor one of the queue, and must not fill the disk.
_SETTINGS = {
    "port": "0",
    "devices": "cpu",
    "threads": "1",
    "spares": "false",
    "metrics_open": "true",
    "max_requests_per_minute": "0",
    "max_queued_per_owner": "0",
    "max_upload_bytes": str(2**20),
}
#: Limits that the requests do meet. `_made` leaves three jobs waiting, so that no other may wait.
_LIMITS = {"max_requests_per_minute": "30", "max_queued_per_owner": "3"}
_TEACHERS = 3


@dataclass(frozen=True)
class Service:
    """The processes, whose key opens them, and the ids of what was made, by the pools of scripts.contract.things."""

    stack: Stack
    token: str
    things: dict[str, list[str]]

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.stack.url

    def document(self) -> dict[str, Any]:
        """The OpenAPI document with this caller's examples."""
        with Client(self.url, self.token) as client:
            return client.get("/openapi.json")

    def answered(self) -> dict[tuple[str, str, int], int]:
        """How many requests were answered by method, route and status, as the service itself counts them."""
        with Client(self.url) as client:
            families = text_string_to_metric_families(client.text("/metrics"))
            samples = [sample for family in families for sample in family.samples]
        return {
            (sample.labels["method"], sample.labels["route"], int(sample.labels["status"])): int(sample.value)
            for sample in samples
            if sample.name == "distillery_requests_total"
        }

    def limit(self) -> None:
        """From now on there are few requests a minute, and no job may wait beside those that do."""
        self.stack.restart_api(**_LIMITS)


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """Started and filled; it ends with the block."""
    with Stack(folder / "var", **_SETTINGS) as stack:
        token = make_key(stack, "contract", "admin")
        with Client(stack.url, token) as client:
            things = _checked(client, folder)
            os.kill(stack.worker_pid, signal.SIGTERM)
            _add_waiting(client, things)
            _add_spare(client, things)
            _begin_in_parts(stack.url, token, things)
        yield Service(stack, token, things)


def make_key(stack: Stack, owner: str, role: str) -> str:
    """The token of a new key."""
    command = [sys.executable, "-m", "core.keys", "--owner", owner, "--role", role]
    made = subprocess.run(command, env=stack.env, check=True, capture_output=True, text=True)
    return made.stdout.strip()


def write_files(folder: Path) -> None:
    """digits.npz, and teacher.pth of a network that has learned nothing: nobody asks here how well it teaches."""
    np.savez(folder / "digits.npz", allow_pickle=False, **digits())
    torch.manual_seed(0)
    torch.save(mlp.build((1, 8, 8), 10, hidden=[16]).state_dict(), folder / "teacher.pth")


def _checked(client: Client, folder: Path) -> dict[str, list[str]]:
    """What a worker has to look at: teachers, data, outputs, and a job that has run."""
    write_files(folder)
    rows = np.arange(100)
    np.savez(folder / "outputs.npz", logits=np.zeros((100, 10), np.float32), rows=rows)
    wide = {"type": "mlp", "hidden": [16]}
    teachers = [client.teacher(f"wide {number}", folder / "teacher.pth", wide) for number in range(_TEACHERS)]
    dataset = client.dataset("digits", folder / "digits.npz", "image_classification")
    outputs = client.dataset("outputs", folder / "outputs.npz", "teacher_outputs")
    things = {
        "teacher": [client.ready(teacher)["id"] for teacher in teachers],
        "dataset": [client.ready(dataset)["id"]],
        "outputs": [client.ready(outputs)["id"]],
        "upload": [teachers[0]["upload"], dataset["upload"]],
        "key": [key["id"] for key in client.get("/keys")["items"]],
    }
    job = client.ended(_job(client, things))
    assert job["status"] == "succeeded", job["error"]
    return {**things, "ended_job": [job["id"]], "name": [file["name"] for file in job["artifacts"]]}


def _job(client: Client, things: dict[str, list[str]]) -> str:
    body = {
        "teacher": things["teacher"][0],
        "dataset": things["dataset"][0],
        "student": {"type": "mlp", "hidden": [8]},
        "loss": {"type": "kd", "T": 4},
        "train": {"epochs": 1, "batch_size": 256},
        "allow_weak_teacher": True,
    }
    return str(client.post("/jobs", body)["id"])


def _add_waiting(client: Client, things: dict[str, list[str]]) -> None:
    """Jobs that no worker takes any more, and what a webhook was sent."""
    # One of its own for each way to steer a job, so that none takes the other's.
    steered = {pool: [_job(client, things)] for pool in ("waiting_job", "unwanted_job", "paused_job")}
    client.post(f"/jobs/{steered['paused_job'][0]}/pause")
    things |= {**steered, "job": [*things["ended_job"], *(job for jobs in steered.values() for job in jobs)]}
    webhook = _webhook(client)
    things |= {"webhook": [webhook], "delivery": [webhook, client.post(f"/webhooks/{webhook}/test")["id"]]}


def _webhook(client: Client) -> str:
    return str(client.post("/webhooks", {"url": "https://example.com/hook", "events": ["job.failed"]})["id"])


def _add_spare(client: Client, things: dict[str, list[str]]) -> None:
    """One of each kind for every DELETE, and one more."""
    teacher = {"name": "spare", "upload": things["upload"][0], "architecture": {"type": "mlp", "hidden": [16]}}
    dataset = {"name": "spare", "upload": things["upload"][1], "task": "image_classification"}
    for _ in range(2):
        job = _job(client, things)
        client.post(f"/jobs/{job}/cancel")
        made = {
            "spare_job": job,
            "spare_teacher": client.post("/teachers", teacher)["id"],
            "spare_dataset": client.post("/datasets", dataset)["id"],
            "spare_webhook": _webhook(client),
            "spare_key": client.post("/keys", {"owner": "somebody", "role": "viewer"})["id"],
        }
        for pool, thing in made.items():
            things.setdefault(pool, []).append(thing)
    _job(client, things)


def _begin_in_parts(url: str, token: str, things: dict[str, list[str]]) -> None:
    """Uploads of which nothing has arrived: two to go on with, two to end."""
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        begun = [client.post("/uploads/resumable").headers["location"].rpartition("/")[2] for _ in range(4)]
    things |= {"tus": begun[:2], "spare_tus": begun[2:]}

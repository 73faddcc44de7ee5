"""The service under test: real processes, a key, and one thing of each kind to ask for. Nothing trains there.

A worker checks a teacher and data of real digits and runs one job; then it is stopped, so that what the requests make
stays queued and costs a row each.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    "max_requests_per_minute": "0",
    "max_queued_per_owner": "0",
    "max_upload_bytes": str(2**20),
}


@dataclass(frozen=True)
class Service:
    """Where it is, whose key opens it, and the ids of what was made by the names of the parameters that take them."""

    url: str
    token: str
    ids: dict[str, list[str]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The OpenAPI document with this caller's examples."""
        with Client(self.url, self.token) as client:
            return client.get("/openapi.json")

    def answered(self) -> dict[tuple[str, str, int], int]:
        """How many requests were answered by method, route and status, as the service itself counts them."""
        with Client(self.url, self.token) as client:
            families = text_string_to_metric_families(client.text("/metrics"))
            samples = [sample for family in families for sample in family.samples]
        return {
            (sample.labels["method"], sample.labels["route"], int(sample.labels["status"])): int(sample.value)
            for sample in samples
            if sample.name == "distillery_requests_total"
        }


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """Started and filled; it ends with the block."""
    with Stack(folder / "var", **_SETTINGS) as stack:
        token = make_key(stack, "contract", "admin")
        with Client(stack.url, token) as client:
            ids = _made(client, folder)
            os.kill(stack.worker_pid, signal.SIGTERM)
            ids["job_id"] += [client.post("/jobs", _body(ids))["id"], _paused(client, ids)]
        yield Service(stack.url, token, ids)


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


def _made(client: Client, folder: Path) -> dict[str, list[str]]:
    write_files(folder)
    teacher = client.teacher("wide", folder / "teacher.pth", {"type": "mlp", "hidden": [16]})
    dataset = client.dataset("digits", folder / "digits.npz", "image_classification")
    teacher, dataset = client.ready(teacher), client.ready(dataset)
    ids = {
        "teacher_id": [teacher["id"]],
        "dataset_id": [dataset["id"]],
        "upload_id": [teacher["upload"], dataset["upload"]],
        "key_id": [key["id"] for key in client.get("/keys")["items"]],
    }
    job = client.ended(client.post("/jobs", _body(ids))["id"])
    assert job["status"] == "succeeded", job["error"]
    return {**ids, "job_id": [job["id"]], "name": [file["name"] for file in job["artifacts"]]}


def _body(ids: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "teacher": ids["teacher_id"][0],
        "dataset": ids["dataset_id"][0],
        "student": {"type": "mlp", "hidden": [8]},
        "loss": {"type": "kd", "T": 4},
        "train": {"epochs": 1, "batch_size": 256},
        "allow_weak_teacher": True,
    }


def _paused(client: Client, ids: dict[str, list[str]]) -> str:
    job: str = client.post("/jobs", _body(ids))["id"]
    client.post(f"/jobs/{job}/pause")
    return job

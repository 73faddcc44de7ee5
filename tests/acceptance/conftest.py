"""One service of real processes for all acceptance tests, and a teacher and a data set of real digits in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scripts.client import Client
from scripts.demo import digits
from scripts.stack import Stack
from tests.acceptance.processes import CHECKPOINT_S, LEASE_S, SWEEP_S
from worker.students import mlp

_SETTINGS = {
    "lease_s": str(LEASE_S),
    "heartbeat_s": "1",
    "sweep_s": str(SWEEP_S),
    "requeue_s": "2",
    "checkpoint_s": str(CHECKPOINT_S),
    "retry_wait_s": "0",
    "threads": "1",
    "devices": "cpu",
    "port": "0",
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("a folder with spaces"), **_SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as connected:
        yield connected


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher.pth, trained here for a second, and digits.npz."""
    folder = tmp_path_factory.mktemp("files")
    data = digits()
    np.savez(folder / "digits.npz", allow_pickle=False, **data)
    _train_teacher(torch.from_numpy(data["x_train"]), torch.from_numpy(data["y_train"]), folder / "teacher.pth")
    return folder


@pytest.fixture(scope="session")
def ready(client: Client, files: Path) -> dict[str, str]:
    """The ids for a job's spec."""
    teacher = client.teacher("wide", files / "teacher.pth", {"type": "mlp", "hidden": [256]})
    dataset = client.dataset("digits", files / "digits.npz", "image_classification")
    return {"teacher": client.ready(teacher)["id"], "dataset": client.ready(dataset)["id"]}


def _train_teacher(pixels: torch.Tensor, y: torch.Tensor, path: Path) -> None:
    torch.manual_seed(0)
    net = mlp.build((1, 8, 8), 10, hidden=[256])
    x = pixels.unsqueeze(1) / 255
    x = (x - x.mean()) / x.std()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(60):
        loss: Any = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(net.state_dict(), path)

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
from tests.acceptance import teachers
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
    "webhooks_private_hosts": "true",
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


@pytest.fixture(scope="session")
def data() -> teachers.Rows:
    """The digits."""
    return teachers.rows()


@pytest.fixture(scope="session")
def taught(data: teachers.Rows, tmp_path_factory: pytest.TempPathFactory) -> dict[str, teachers.Taught]:
    """Teachers of several makes and classes."""
    return teachers.train(tmp_path_factory.mktemp("teachers"), data)


@pytest.fixture(scope="session")
def ids(
    client: Client,
    ready: dict[str, str],
    data: teachers.Rows,
    taught: dict[str, teachers.Taught],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Of them and of all else that jobs of the regimes read, by name."""
    folder = tmp_path_factory.mktemp("data")
    given = teachers.give(folder, data, taught["conv"].logits)
    few, none = teachers.forget(folder, data)
    asked = {
        name: client.teacher(name, one.file, one.architecture, input={"preset": "none"}, **one.fields)
        for name, one in taught.items()
    }
    asked["given"] = client.dataset("given", given, "teacher_outputs", classes=teachers.DIGITS[::-1])
    images = "image_classification"
    asked["few labels"] = client.dataset("few labels", few, images, labels="partial")
    asked["no labels"] = client.dataset("no labels", none, images, labels="none", classes=teachers.DIGITS)
    own = {"wide": ready["teacher"], "digits": ready["dataset"]}
    return own | {name: client.ready(thing)["id"] for name, thing in asked.items()}


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

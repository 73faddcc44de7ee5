"""The teacher and the data of a table: made once, kept in its folder, handed in once."""

from pathlib import Path
from typing import Any

import torch

from scripts import fashion
from scripts.client import Client
from scripts.proof import console
from scripts.table.budget import Budget
from scripts.table.entries import TASK


def prepare(folder: Path, budget: Budget) -> None:
    """Train the teacher and cut the data, where an earlier run has not."""
    made = folder / budget.fingerprint
    made.mkdir(parents=True, exist_ok=True)
    if not (made / "teacher.pth").exists():
        console.print(f"[bold]A resnet of depth 20 is trained on {budget.teacher_rows:,} images[/bold]")
        torch.set_num_threads(1)  # the same teacher on any number of cores
        x, y = fashion.training_rows(budget.teacher_rows)
        fashion.train_teacher(x, y, made / "teacher.part", budget.teacher_epochs, console.print)
        (made / "teacher.part").replace(made / "teacher.pth")
    if not (made / "fashion-mnist.tar").exists():
        fashion.archive(made / "fashion-mnist.part", budget.rows, budget.test_rows)
        (made / "fashion-mnist.part").replace(made / "fashion-mnist.tar")


def hand_in(client: Client, folder: Path, budget: Budget) -> dict[str, str]:
    """The ids of teacher and data set, as a job's spec names them."""
    made, name = folder / budget.fingerprint, f"table {budget.fingerprint}"
    teacher = _earlier(client, "/teachers", name) or client.teacher(name, made / "teacher.pth", fashion.TEACHER)
    dataset = _earlier(client, "/datasets", name) or client.dataset(
        name, made / "fashion-mnist.tar", TASK, format="idx"
    )
    return {"teacher": client.ready(teacher)["id"], "dataset": client.ready(dataset)["id"]}


def _earlier(client: Client, route: str, name: str) -> dict[str, Any] | None:
    """What an earlier run has handed in under this name and was not rejected."""
    listed = client.get(f"{route}?limit=200")["items"]
    return next((each for each in listed if each["name"] == name and each["status"] != "rejected"), None)

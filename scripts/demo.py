"""`make demo`: what a user does, from a trained teacher to a small student that is better than it would be alone.

The data are scikit-learn's 1,797 handwritten digits. They are split once, by a fixed seed: 600 to train on, 200 to
choose the best epoch by, 997 that nobody sees before the end.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import Unavailable
from scripts.client import Client, Refused
from scripts.follow import follow
from scripts.stack import Stack
from worker.students import resnet

_KEPT = Path(__file__).resolve().parents[1] / "var" / "demo"
_SCORE = Path(__file__).with_name("score.py")
_TEACHER = {"type": "resnet", "depth": 8, "width": 2}
#: Temperature, optimiser and the rest are the service's defaults.
_JOB = {
    "name": "digits",
    "student": {"type": "mlp", "hidden": [64]},
    "loss": {"type": "kd", "T": 4},
    "train": {"epochs": 60, "batch_size": 64},
}
_EPOCHS, _BATCH = 20, 64
_NUM_TRAIN, _NUM_VAL = 600, 200

Arrays = dict[str, NDArray[np.generic]]

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Play the user; 1 where anything is not as it should be."""
    folder = Path(tempfile.mkdtemp(prefix="distillery-demo-"))
    try:
        _play(folder)
    except (Refused, Unavailable) as error:
        console.print(Text(str(error)))
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(f"The student's files are in {_KEPT}")
    return 0


def _play(folder: Path) -> None:
    started = time.monotonic()
    _say("A teacher is trained on real handwritten digits")
    data = digits()
    np.savez(folder / "digits.npz", allow_pickle=False, **data)
    _train_teacher(data, folder / "teacher.pth")
    _say("The service starts: PostgreSQL, Redis, API, worker")
    with Stack(folder / "var", port="0", threads="1") as stack, Client(stack.url) as client:
        console.print(f"  {stack.url}")
        _say("Teacher and data are handed in and checked")
        teacher, dataset = _hand_in(client, folder)
        _say("A job: POST /jobs")
        body = {"teacher": teacher["id"], "dataset": dataset["id"], **_JOB}
        console.print(Text(f"  {json.dumps(body)}"))
        job = _run(client, body)
        _say("The student is fetched and scored by a program that knows nothing of the service")
        _fetch(client, job, _KEPT)
        _show(job, _score(_KEPT, folder / "digits.npz"), _KEPT, (folder / "teacher.pth").stat().st_size)
        console.print(f"All of it took {time.monotonic() - started:.0f} s.")
        console.print(f"The docs page of the service: {stack.url}/docs")
        if console.is_terminal and sys.stdin.isatty():
            console.input("Look around; Enter stops it. `make up` starts one to stay. ")


def digits() -> Arrays:
    """Images (N, 8, 8) as bytes and labels, by split."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    x, y = np.rint(loaded.images / 16 * 255).astype(np.uint8), loaded.target
    order = np.random.default_rng(0).permutation(len(y))
    parts = np.split(order, [_NUM_TRAIN, _NUM_TRAIN + _NUM_VAL])
    arrays: Arrays = {}
    for name, rows in zip(("train", "val", "test"), parts, strict=True):
        arrays |= {f"x_{name}": x[rows], f"y_{name}": y[rows]}
    return arrays


def _train_teacher(data: Arrays, path: Path) -> None:
    """A residual network, with a random shift of each image by a pixel; saved as anybody saves one."""
    torch.manual_seed(1)
    torch.set_num_threads(1)  # more would only wait for each other on images of this size
    net = resnet.build((1, 8, 8), 10, depth=8, width=2)
    mean, std = data["x_train"].mean() / 255, data["x_train"].std() / 255
    x, y = _tensors(data, "train", mean, std)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = _EPOCHS * -(-len(y) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(_EPOCHS):
        net.train()
        for batch in torch.split(torch.randperm(len(y)), _BATCH):
            loss = F.cross_entropy(net(_shifted(x[batch], -mean / std)), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if (epoch + 1) % 5 == 0:
            accuracy = _accuracy(net, *_tensors(data, "val", mean, std))
            console.print(f"  epoch {epoch + 1}/{_EPOCHS}: {accuracy:.1%} on the validation split")
    torch.save(net.state_dict(), path)


def _tensors(data: Arrays, split: str, mean: float, std: float) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(data[f"x_{split}"]).unsqueeze(1)
    return (pixels / 255 - mean) / std, torch.from_numpy(data[f"y_{split}"])


def _shifted(x: Tensor, background: float) -> Tensor:
    """Each image (N, 1, H, W) moved by -1, 0 or 1 pixels up and sideways."""
    padded = F.pad(x, (1, 1, 1, 1), value=float(background))
    down, right = torch.randint(0, 3, (2, len(x)))
    rows, columns = (start[:, None] + torch.arange(x.shape[-1]) for start in (down, right))
    return padded[torch.arange(len(x))[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


@torch.no_grad()
def _accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((net.eval()(x).argmax(1) == y).float().mean())


def _hand_in(client: Client, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    teacher = client.teacher("resnet 8x2", folder / "teacher.pth", _TEACHER)
    dataset = client.dataset("digits", folder / "digits.npz", "image_classification")
    teacher, dataset = client.ready(teacher), client.ready(dataset)
    for thing in (teacher, dataset):
        console.print(Text(f"  {thing['name']} is {thing['status']}: {thing['id']}"))
        for line in thing["report"]["checks"]:
            console.print(Text(f"    {line['result']}  {line['detail']}"))
    return teacher, dataset


def _run(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    job = client.post("/jobs", body)
    follow(client.events(job["id"]), console)
    job = client.get(f"/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise Refused(f"The job is {job['status']}: {json.dumps(job['error'], indent=2)}")
    return job


def _fetch(client: Client, job: dict[str, Any], target: Path) -> None:
    """All files of the job; each hash is that of the ETag and of the list."""
    target.mkdir(parents=True, exist_ok=True)
    for artifact in job["artifacts"]:
        digest = client.download(artifact["url"], target / artifact["name"])
        if digest != artifact["sha256"]:
            raise Refused(f"{artifact['name']} came as {digest} and is listed as {artifact['sha256']}")
        console.print(f"  {artifact['name']}  {artifact['size']:,} bytes  sha256 {digest[:16]}...")
    weights = torch.load(target / "student.pth", weights_only=True)
    console.print(f"  torch.load(weights_only=True) gives {', '.join(weights)}")


def _score(folder: Path, data: Path) -> float:
    """The accuracy that an interpreter of its own finds, isolated from this one's paths."""
    scored = subprocess.run(
        [sys.executable, "-I", str(_SCORE), str(folder), "npz", str(data)], capture_output=True, text=True, check=False
    )
    if scored.returncode:
        raise Refused(f"The student could not be scored:\n{scored.stderr}")
    accuracy: float = json.loads(scored.stdout)["accuracy"]
    console.print(f"  {accuracy:.2%} of the test split is right")
    return accuracy


def _show(job: dict[str, Any], measured: float, folder: Path, teacher_bytes: int) -> None:
    result = job["result"]
    test, parameters = result["test"], result["parameters"]
    student_bytes = (folder / "student.pth").stat().st_size
    if abs(measured - test["student"]["accuracy"]) > 1e-6:
        raise Refused(f"The service reports {test['student']['accuracy']}, the file scores {measured}")
    table = Table("", "test accuracy", "parameters", "file")
    for name, accuracy, count, size in (
        ("teacher", test["teacher"]["accuracy"], parameters["teacher"], teacher_bytes),
        ("student, with the teacher", measured, parameters["student"], student_bytes),
        ("student, without", test["control"]["accuracy"], parameters["student"], student_bytes),
    ):
        table.add_row(name, f"{accuracy:.2%}", f"{count:,}", f"{size / 1024:,.0f} KB")
    console.print()
    console.print(table)


def _say(what: str) -> None:
    console.print(f"\n[bold]{what}[/bold]")


if __name__ == "__main__":
    sys.exit(main())

"""`make accept`: the main job on Fashion-MNIST, over HTTP, against real processes.

A resnet of depth 20 is trained here and handed in; a resnet of depth 8 learns from it by `kd` over three seeds, each
beside the same student without a teacher, then by `hint` and by `similarity`. Two cores must do it within half an
hour, so the jobs and the teacher see the first rows of the training file only; the test file is whole.
"""

import gzip
import struct
import sys
import tarfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.proof import SHARED, Prover, console, prove, spread, table
from worker.students import resnet

_DATA = SHARED / "fashion-mnist"
_SEEDS = (0, 1, 2)
_TEACHER = {"type": "resnet", "depth": 20}
_STUDENT = {"type": "resnet", "depth": 8}
#: Of each training image's 28 pixels, so many may be shifted in.
_SHIFT = 2
_BATCH = 128


def main() -> int:
    """The door."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000, help="of the 60,000 for training")
    parser.add_argument("--teacher-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=4, help="of each student")
    given = parser.parse_args()
    return prove("accept", _DATA, lambda prover, folder: _play(prover, folder, given))


def _play(prover: Prover, folder: Path, given: Namespace) -> None:
    started = time.monotonic()
    archive, x, y = _subset(folder, given.rows)
    console.print(f"[bold]A resnet of depth 20 is trained on {len(y):,} images[/bold]")
    _train_teacher(x, y, folder / "teacher.pth", given.teacher_epochs)
    client = prover.client
    teacher = client.teacher("resnet 20", folder / "teacher.pth", _TEACHER)
    dataset = client.dataset("fashion-mnist", archive, "image_classification", format="idx")
    base = {
        "teacher": client.ready(teacher)["id"],
        "dataset": client.ready(dataset)["id"],
        "student": _STUDENT,
    }
    results = _run_all(prover, base, given.epochs)
    _judge(prover, results)
    console.print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")


def _run_all(prover: Prover, base: dict[str, Any], epochs: int) -> dict[str, list[dict[str, Any]]]:
    """Results by loss, one for each seed."""
    score = ["idx", str(_file("t10k-images-idx3")), str(_file("t10k-labels-idx1"))]
    results: dict[str, list[dict[str, Any]]] = {"kd": [], "hint": [], "similarity": []}
    for name, found in results.items():
        is_compared = name == "kd"
        for seed in _SEEDS if is_compared else _SEEDS[:1]:
            train = {"epochs": epochs, "seed": seed, "control": is_compared}
            body = {**base, "name": f"{name}-{seed}", "loss": {"type": name}, "train": train}
            found.append(prover.run(f"{name}, seed {seed}", body, score))
    return results


def _judge(prover: Prover, results: dict[str, list[dict[str, Any]]]) -> None:
    def figures(name: str, who: str) -> list[float]:
        return [result["test"][who]["accuracy"] for result in results[name]]

    alone, taught = figures("kd", "control"), figures("kd", "student")
    rows = [["teacher", spread(figures("kd", "teacher")[:1], ".2%")], ["no teacher", spread(alone, ".2%")]]
    rows += [[name, spread(figures(name, "student"), ".2%")] for name in results]
    table(f"Test accuracy, kd and no teacher over {len(_SEEDS)} seeds", ["", "mean ± deviation"], rows)
    gain = mean(taught) - mean(alone)
    prover.insist(gain >= 0, f"kd is at or above the student without a teacher: {gain:+.2%}")


def _file(name: str) -> Path:
    return _DATA / f"{name}-ubyte.gz"


def _subset(folder: Path, num_rows: int) -> tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]:
    """A tar of the four files, the training ones cut to their first rows; and those rows."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    arrays = []
    with tarfile.open(folder / "fashion-mnist.tar", "w") as tar:
        for name in names:
            path = _file(name)
            if name.startswith("train"):
                content = gzip.decompress(path.read_bytes())
                num_dims, item = content[3], 784 if "images" in name else 1
                header = 4 + 4 * num_dims
                total = min(num_rows, struct.unpack(">i", content[4:8])[0])
                cut = content[:4] + struct.pack(">i", total) + content[8 : header + total * item]
                path = folder / path.name
                path.write_bytes(gzip.compress(cut, 1))
                arrays.append(np.frombuffer(cut, np.uint8, offset=header))
            tar.add(path, path.name)
    return folder / "fashion-mnist.tar", arrays[0].reshape(-1, 28, 28), arrays[1]


def _train_teacher(x: NDArray[np.uint8], y: NDArray[np.uint8], path: Path, epochs: int) -> None:
    torch.manual_seed(0)
    net = resnet.build((1, 28, 28), 10, depth=20)
    images, labels = torch.from_numpy(x.copy()).unsqueeze(1) / 255, torch.from_numpy(y.astype(np.int64))
    mean_, std = images.mean(), images.std()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * -(-len(labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for epoch in range(epochs):
        started = time.monotonic()
        total = 0.0
        for batch in torch.split(torch.randperm(len(labels)), _BATCH):
            loss = _step(net, (_shifted(images[batch]) - mean_) / std, labels[batch], optimizer)
            schedule.step()
            total += loss * len(batch)
        seconds = time.monotonic() - started
        console.print(f"  epoch {epoch + 1}/{epochs}: loss {total / len(labels):.3f}, {seconds:.0f} s")
    torch.save(net.state_dict(), path)


def _step(net: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> float:
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def _shifted(x: Tensor) -> Tensor:
    """The batch (N, 1, H, W) moved by up to _SHIFT pixels, all of it alike; the background is 0."""
    down, right = (int(torch.randint(-_SHIFT, _SHIFT + 1, ())) for _ in range(2))
    return F.pad(x, (_SHIFT + right, _SHIFT - right, _SHIFT + down, _SHIFT - down))[
        ..., _SHIFT : _SHIFT + x.shape[-2], _SHIFT : _SHIFT + x.shape[-1]
    ]


if __name__ == "__main__":
    sys.exit(main())

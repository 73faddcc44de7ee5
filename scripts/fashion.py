"""Fashion-MNIST for the runs that prove and compare: a part of its files, and a teacher that is trained on it here."""

import gzip
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.proof import SHARED
from worker.students import resnet

DATA = SHARED / "fashion-mnist"
TEACHER: dict[str, Any] = {"type": "resnet", "depth": 20}
STUDENT: dict[str, Any] = {"type": "resnet", "depth": 8}

#: Of each training image's 28 pixels, so many may be shifted in.
_SHIFT = 2
_BATCH = 128

Array = NDArray[np.uint8]


def file(name: str) -> Path:
    """One of the four files, such as `t10k-images-idx3`."""
    return DATA / f"{name}-ubyte.gz"


def archive(target: Path, num_train: int, num_test: int | None = None) -> Path:
    """A tar of the four files, cut to their first rows; all test rows where no number is given."""
    folder = target.parent
    with tarfile.open(target, "w") as tar:
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            path, rows = file(name), num_train if name.startswith("train") else num_test
            if rows is not None:
                path = folder / path.name
                path.write_bytes(gzip.compress(_cut(name, rows), 1))
            tar.add(path, path.name)
    return target


def training_rows(num_rows: int) -> tuple[Array, Array]:
    """The first training images (N, 28, 28) and their labels (N,)."""
    x, y = (np.frombuffer(_cut(name, num_rows), np.uint8) for name in ("train-images-idx3", "train-labels-idx1"))
    return x[16:].reshape(-1, 28, 28), y[8:]


def _cut(name: str, num_rows: int) -> bytes:
    """The IDX file's first rows, as an IDX file."""
    content = gzip.decompress(file(name).read_bytes())
    num_dims, item = content[3], 784 if "images" in name else 1
    header = 4 + 4 * num_dims
    total = min(num_rows, struct.unpack(">i", content[4:8])[0])
    return content[:4] + struct.pack(">i", total) + content[8 : header + total * item]


def train_teacher(x: Array, y: Array, path: Path, epochs: int, say: Callable[[str], None]) -> None:
    """A resnet of depth 20, saved as anybody saves one."""
    torch.manual_seed(0)
    net = resnet.build((1, 28, 28), 10, depth=TEACHER["depth"])
    images, labels = torch.from_numpy(x.copy()).unsqueeze(1) / 255, torch.from_numpy(y.astype(np.int64))
    mean, std = images.mean(), images.std()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * -(-len(labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for epoch in range(epochs):
        started = time.monotonic()
        total = 0.0
        for batch in torch.split(torch.randperm(len(labels)), _BATCH):
            loss = _step(net, (_shifted(images[batch]) - mean) / std, labels[batch], optimizer)
            schedule.step()
            total += loss * len(batch)
        seconds = time.monotonic() - started
        say(f"  epoch {epoch + 1}/{epochs}: loss {total / len(labels):.3f}, {seconds:.0f} s")
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

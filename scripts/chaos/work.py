"""What the trials train: real jobs of a few seconds on scikit-learn's digits, with every kind of state in them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from worker.students import mlp

Json = dict[str, Any]

TEACHER: Json = {"type": "mlp", "hidden": [64]}
_SHAPE, _CLASSES = (1, 8, 8), 10

#: By name; each has one reference run that nothing disturbs. Dropout, momenta, averages and batch statistics are state.
JOBS: dict[str, Json] = {
    "rows": {
        "student": {"type": "mlp", "hidden": [32], "dropout": 0.1, "batch_norm": True},
        "loss": {"type": "kd", "T": 4},
        "train": {
            "epochs": 16,
            "batch_size": 32,
            "optimizer": {"type": "adamw", "lr": 0.003},
            "ema": 0.99,
            "control": False,
            "seed": 1,
        },
    },
    "images": {
        "student": {
            "type": "layers",
            "layers": [
                {"type": "conv", "out": 8},
                {"type": "batch_norm"},
                {"type": "relu"},
                {"type": "global_pool"},
                {"type": "dropout", "p": 0.1},
            ],
        },
        "loss": [{"type": "kd", "T": 2}, {"type": "similarity"}],
        "train": {"epochs": 4, "batch_size": 32, "augment": {"crop": 1}, "control": True, "seed": 2},
    },
}


def make_files(folder: Path) -> tuple[Path, Path]:
    """A trained teacher's checkpoint and the data set, as a user would have them."""
    digits = load_digits()
    x, y = (digits.images * 15.9375).astype(np.uint8), digits.target.astype(np.int64)
    data = folder / "digits.npz"
    np.savez(data, x=x, y=y)
    teacher = folder / "teacher.pth"
    torch.save(_trained(x, y).state_dict(), teacher)
    return teacher, data


def _trained(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> torch.nn.Module:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images = torch.from_numpy(x).float() / 255
    images = (images - images.mean()) / images.std()
    net = mlp.build(_SHAPE, _CLASSES, hidden=TEACHER["hidden"])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = cross_entropy(net(images), torch.from_numpy(y))
        torch.autograd.backward([loss])
        optimizer.step()
    return net

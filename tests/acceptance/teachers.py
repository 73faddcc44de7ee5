"""Teachers of several makes for the digits, trained in a moment, and what each says of every row of the data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec.students import Architecture, Student
from scripts.demo import digits
from tests.worker.intake.teachers.graphs import graph, node, tensor
from worker.engine.networks import build_network

SPLITS = ("train", "val", "test")
DIGITS = [str(digit) for digit in range(10)]
#: Twelve outputs: the digits backwards, and two classes that the data do not have.
MORE = ["comma", *reversed(DIGITS), "dot"]
FEW = ["seven", "one", "another"]
PARITY = ["even", "odd"]

MLP = {"type": "mlp", "hidden": [64]}
CONV = {
    "type": "layers",
    "layers": [
        {"type": "conv", "out": 8},
        {"type": "relu"},
        {"type": "max_pool"},
        {"type": "conv", "out": 12},
        {"type": "relu"},
    ],
}


@dataclass(frozen=True)
class Rows:
    """The digits as the service keeps them: pixels 0 to 255 (N, 1, 8, 8) and labels, train before val before test."""

    x: Tensor
    y: Tensor
    split: list[str]

    @property
    def given(self) -> Tensor:
        """The rows that the given outputs are of: every other one."""
        return torch.arange(len(self.y)) % 2 == 0

    def of(self, split: str) -> Tensor:
        """Which rows are of the split."""
        return torch.tensor([name == split for name in self.split])


@dataclass(frozen=True)
class Taught:
    """A teacher's file, what POST /teachers is told of it, and its logits of all rows."""

    file: Path
    architecture: dict[str, Any]
    logits: Tensor
    fields: dict[str, Any] = field(default_factory=dict)


def rows() -> Rows:
    """All of them."""
    data = digits()
    x = np.concatenate([data[f"x_{name}"] for name in SPLITS])
    y = np.concatenate([data[f"y_{name}"] for name in SPLITS])
    split = [name for name in SPLITS for _ in data[f"y_{name}"]]
    return Rows(torch.from_numpy(x).unsqueeze(1), torch.from_numpy(y), split)


def build(architecture: dict[str, Any], num_outputs: int) -> nn.Module:
    """A network of the menu for these images."""
    entry: Student = TypeAdapter[Any](Architecture).validate_python(architecture)
    return build_network(entry, (1, 8, 8), num_outputs).module


def train(folder: Path, data: Rows) -> dict[str, Taught]:
    """Teachers by name."""
    seven_or_one = torch.full_like(data.y, 2)
    seven_or_one[data.y == 7], seven_or_one[data.y == 1] = 0, 1
    backwards = torch.tensor([MORE.index(str(digit)) for digit in range(10)])[data.y]
    return {
        "conv": _saved(folder, "conv", CONV, data, data.y, DIGITS, named=False),
        "more": _saved(folder, "more", MLP, data, backwards, MORE),
        "few": _saved(folder, "few", MLP, data, seven_or_one, FEW),
        "parity": _saved(folder, "parity", MLP, data, data.y % 2, PARITY),
        "graph": _graph(folder, data),
    }


def _saved(
    folder: Path,
    name: str,
    architecture: dict[str, Any],
    data: Rows,
    y: Tensor,
    classes: Sequence[str],
    *,
    named: bool = True,
) -> Taught:
    net = _trained(architecture, data, y, len(classes))
    torch.save(net.state_dict(), folder / f"{name}.pth")
    fields = {"classes": list(classes)} if named else {}
    return Taught(folder / f"{name}.pth", architecture, _logits(net, data), fields)


def _graph(folder: Path, data: Rows) -> Taught:
    """A graph that ends in softmax, as many are exported."""
    net = _trained({"type": "mlp", "hidden": [20]}, data, data.y, len(DIGITS))
    nodes = [
        node("Flatten", "x", "flat"),
        node("Gemm", "flat hidden.0.linear.weight hidden.0.linear.bias", "linear", transB=1),
        node("Relu", "linear", "relu"),
        node("Gemm", "relu head.weight head.bias", "logits", transB=1),
        node("Softmax", "logits", "probabilities", axis=1),
    ]
    stored = [tensor(name, weight.numpy()) for name, weight in net.state_dict().items()]
    model = graph(nodes, stored, ("N", 1, 8, 8), [("probabilities", ("N", len(DIGITS)))])
    onnx.save(model, folder / "graph.onnx")
    return Taught(folder / "graph.onnx", {"type": "onnx"}, _logits(net, data))


def _trained(architecture: dict[str, Any], data: Rows, y: Tensor, num_outputs: int) -> nn.Module:
    torch.manual_seed(0)
    net, learned = build(architecture, num_outputs), data.of("train")
    x, labels = data.x[learned] / 255, y[learned]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(40):
        loss: Any = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


@torch.no_grad()
def _logits(net: nn.Module, data: Rows) -> Tensor:
    logits: Tensor = net(data.x / 255)
    return logits


def forget(folder: Path, data: Rows) -> tuple[Path, Path]:
    """The digits with labels of 100 training rows and of those held back, and without any."""
    y = data.y.clone()
    y[100 : sum(name == "train" for name in data.split)] = -1
    arrays = {f"x_{name}": data.x[data.of(name), 0].numpy() for name in SPLITS}
    np.savez(folder / "none.npz", allow_pickle=False, **arrays)
    arrays |= {f"y_{name}": y[data.of(name)].numpy() for name in SPLITS}
    np.savez(folder / "few.npz", allow_pickle=False, **arrays)
    return folder / "few.npz", folder / "none.npz"


def give(folder: Path, data: Rows, logits: Tensor) -> Path:
    """Outputs of some rows as a file; their classes are those of the digits backwards, and so is their order."""
    rows = data.given.nonzero()[:, 0].flip(0)
    np.savez(folder / "given.npz", allow_pickle=False, logits=logits[rows].flip(1).numpy(), rows=rows.numpy())
    return folder / "given.npz"

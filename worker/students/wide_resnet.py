"""Wide residual networks for small images: few layers, many channels, batch norm and ReLU before each convolution.

Zagoruyko, Komodakis 2016, arXiv:1605.07146, table 1. Names of modules are those of the networks in Tian et al. 2020,
CRD, arXiv:1910.10699, so that checkpoints in circulation fit as they are.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Norm, ReLU, convolution, twice, beside an identity; dropout lies between the two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.dropout = dropout
        self.convShortcut: nn.Module | None = None
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        out = F.relu(self.bn1(x))
        # A shortcut with a convolution starts behind the first norm, which both branches then share.
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        out = F.relu(self.bn2(self.conv1(out)))
        out = F.dropout(out, self.dropout, self.training)
        return self.conv2(out) + shortcut  # type: ignore[no-any-return]


class Group(nn.Module):
    """Blocks of one width; the first of them changes channels and resolution."""

    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        first = BasicBlock(inputs, outputs, stride, dropout)
        self.layer = nn.Sequential(first, *(BasicBlock(outputs, outputs, 1, dropout) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """A stem and three groups; the second and third halve the map."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        w1, w2, w3 = 16 * width, 32 * width, 64 * width
        self.conv1 = nn.Conv2d(inputs, 16, 3, padding=1, bias=False)
        self.block1 = Group(blocks, 16, w1, 1, dropout)
        self.block2 = Group(blocks, w1, w2, 2, dropout)
        self.block3 = Group(blocks, w2, w3, 2, dropout)
        self.bn1 = nn.BatchNorm2d(w3)
        self.fc = nn.Linear(w3, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        x = F.relu(self.bn1(x))
        # A pool and not x.mean((2, 3)): its gradient lies as the map does, in its order of channels and places.
        logits: Tensor = self.fc(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


def build(
    in_shape: tuple[int, ...], num_outputs: int, *, depth: int, width: int = 1, dropout: float = 0.0
) -> WideResNet:
    """The network for images of `in_shape` (channels, height, width), of any size."""
    if len(in_shape) != 3:
        raise ValueError(f"wide_resnet takes images (channels, height, width), the data has {list(in_shape)}")
    return WideResNet(in_shape[0], num_outputs, blocks=(depth - 4) // 6, width=width, dropout=dropout)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "fc"


def stages(_net: nn.Module) -> list[str]:
    """Paths of the three groups. What they give is a sum before its norm and ReLU, as in the family's papers."""
    return ["block1", "block2", "block3"]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels and outputs, off a state_dict's shapes."""
    return shapes["conv1.weight"][1], shapes["fc.weight"][0]


def guess(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """The config of a network with these names and shapes; None where it is none of this family."""
    first = shapes.get("block1.layer.0.conv1.weight", ())
    blocks = sum(f"block1.layer.{at}.conv2.weight" in shapes for at in range(len(shapes)))
    if len(first) != 4 or first[0] % 16 or "fc.weight" not in shapes:
        return None
    return {"depth": 6 * blocks + 4, "width": first[0] // 16}

"""ShuffleNetV2 for small images: half of the channels pass untouched through each unit, then halves are shuffled.

Ma et al. 2018, arXiv:1807.11164, table 5 and figure 3. The small-image form (a 1x1 stem that keeps the resolution, no
pooling after it) and the names of modules are those of the networks in Tian et al. 2020, CRD, arXiv:1910.10699, so that
checkpoints in circulation fit as they are.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels of the three stages and of the last convolution.
WIDTHS = {
    "0.5": (48, 96, 192, 1024),
    "1.0": (116, 232, 464, 1024),
    "1.5": (176, 352, 704, 1024),
    "2.0": (244, 488, 976, 2048),
}
STEM = 24
#: Units of each stage that keep the resolution; one that halves it comes before them.
UNITS = (3, 7, 3)


class BasicBlock(nn.Module):
    """A unit that keeps the resolution: one half of the channels is worked on, the other passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        kept, out = x.chunk(2, 1)
        out = F.relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = F.relu(self.bn3(self.conv3(out)))
        return _shuffled(kept, out)


class DownBlock(nn.Module):
    """A unit that halves the resolution: both branches work on all channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = nn.Conv2d(inputs, inputs, 3, 2, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / 2, W / 2), sizes rounded up."""
        left = self.bn1(self.conv1(x))
        left = F.relu(self.bn2(self.conv2(left)))
        right = F.relu(self.bn3(self.conv3(x)))
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)))
        return _shuffled(left, right)


class ShuffleNetV2(nn.Module):
    """A 1x1 stem, three stages, a wide 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(STEM, widths[0], UNITS[0])
        self.layer2 = _stage(widths[0], widths[1], UNITS[1])
        self.layer3 = _stage(widths[1], widths[2], UNITS[2])
        self.conv2 = nn.Conv2d(widths[2], widths[3], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.linear = nn.Linear(widths[3], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        # A pool and not x.mean((2, 3)): its gradient lies as the map does, in its order of channels and places.
        logits: Tensor = self.linear(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    return nn.Sequential(DownBlock(inputs, outputs), *(BasicBlock(outputs) for _ in range(units)))


def _shuffled(left: Tensor, right: Tensor) -> Tensor:
    """The channels of both in turn: left 0, right 0, left 1 ..."""
    return F.channel_shuffle(torch.cat((left, right), 1), 2)


def build(in_shape: tuple[int, ...], num_outputs: int, *, size: str = "1.0") -> ShuffleNetV2:
    """The network for images of `in_shape` (channels, height, width), of any size."""
    if len(in_shape) != 3:
        raise ValueError(f"shufflenetv2 takes images (channels, height, width), the data has {list(in_shape)}")
    return ShuffleNetV2(in_shape[0], num_outputs, WIDTHS[size])


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "linear"


def stages(_net: nn.Module) -> list[str]:
    """Paths of the three stages. Half of their channels passed through, all of them behind a ReLU."""
    return ["layer1", "layer2", "layer3"]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels and outputs, off a state_dict's shapes."""
    return shapes["conv1.weight"][1], shapes["linear.weight"][0]

"""The CIFAR family of residual networks: one 3x3 stem, three stages of basic blocks, global pooling, a linear head.

He et al. 2016, arXiv:1512.03385, section 4.2. Names of modules, and the widths of resnet8x4 and resnet32x4, are those
of the networks in Tian et al. 2020, CRD, arXiv:1910.10699, so that checkpoints in circulation fit as they are.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class PaddedIdentity(nn.Module):
    """Shortcut A: every second place, and zeros for the channels that are new. It has no parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.new, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride), sizes rounded up."""
        before = self.new // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new - before))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        # Nothing that a module returned is changed in place, since any module may be tapped; the sum is nobody's.
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(out + shortcut, inplace=True)


class ResNet(nn.Module):
    """A stem and three stages; the second and third halve the map."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, stem: int, width: int, shortcut: str) -> None:
        super().__init__()
        w1, w2, w3 = 16 * width, 32 * width, 64 * width
        self.conv1 = nn.Conv2d(inputs, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(blocks, stem, w1, 1, shortcut)
        self.layer2 = _stage(blocks, w1, w2, 2, shortcut)
        self.layer3 = _stage(blocks, w2, w3, 2, shortcut)
        self.fc = nn.Linear(w3, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        # A pool and not x.mean((2, 3)): its gradient lies as the map does, in its order of channels and places.
        logits: Tensor = self.fc(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


def _stage(blocks: int, inputs: int, outputs: int, stride: int, shortcut: str) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)))


def _shortcut(inputs: int, outputs: int, stride: int, shortcut: str) -> nn.Module:
    if shortcut == "A":
        return PaddedIdentity(inputs, outputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def build(
    in_shape: tuple[int, ...],
    num_outputs: int,
    *,
    depth: int,
    width: int = 1,
    stem: int | None = None,
    shortcut: str = "B",
) -> ResNet:
    """The network for images of `in_shape` (channels, height, width), of any size."""
    if len(in_shape) != 3:
        raise ValueError(f"resnet takes images (channels, height, width), the data has {list(in_shape)}")
    stem = stem or _usual_stem(width)
    if shortcut == "A" and stem > 16 * width:
        raise ValueError(f"shortcut A cannot drop channels: stem must be at most {16 * width}, got {stem}", "stem")
    blocks = (depth - 2) // 6
    return ResNet(in_shape[0], num_outputs, blocks=blocks, stem=stem, width=width, shortcut=shortcut)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "fc"


def stages(_net: nn.Module) -> list[str]:
    """Paths of the three stages; each ends in a ReLU."""
    return ["layer1", "layer2", "layer3"]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels and outputs, off a state_dict's shapes."""
    return shapes["conv1.weight"][1], shapes["fc.weight"][0]


def guess(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """The config of a network with these names and shapes; None where it is none of this family."""
    first = shapes.get("layer1.0.conv1.weight", ())
    blocks = sum(f"layer1.{at}.conv2.weight" in shapes for at in range(len(shapes)))
    # The larger relatives, for photographs, have a fourth stage.
    if len(first) != 4 or first[0] % 16 or "fc.weight" not in shapes or "layer4.0.conv1.weight" in shapes:
        return None
    found: dict[str, Any] = {"depth": 6 * blocks + 2, "width": first[0] // 16}
    if first[1] != _usual_stem(found["width"]):
        found["stem"] = first[1]
    if "layer2.0.downsample.0.weight" not in shapes:
        found["shortcut"] = "A"
    return found


def _usual_stem(width: int) -> int:
    return 16 if width == 1 else 32

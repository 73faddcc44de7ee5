"""MobileNetV2 for small images: inverted residuals with linear bottlenecks, and one halving fewer than the original.

Sandler et al. 2018, arXiv:1801.04381, table 2. The small-image form (stride 1 in the second stage, plain ReLU, an
expansion convolution also where it expands by 1) and the names of modules are those of the networks in Tian et al.
2020, CRD, arXiv:1910.10699, so that checkpoints in circulation fit as they are.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

#: Expansion, channels at width 1, blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM, LAST = 32, 1280
#: The narrowest bottleneck: below this width it would have no channel.
NARROWEST = min(channels for _, channels, _, _ in STAGES)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; no ReLU after the projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        wide = inputs * expansion
        self.conv = nn.Sequential(
            *_convolution(inputs, wide, 1),
            *_convolution(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride), sizes rounded up."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """A strided stem, seven stages, a wide 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, width: float) -> None:
        super().__init__()
        channels = int(STEM * width)
        self.conv1 = nn.Sequential(*_convolution(inputs, channels, 3, 2))
        self.blocks = nn.ModuleList()
        for expansion, base, blocks, stride in STAGES:
            strides = (stride, *[1] * (blocks - 1))
            widths = (channels, *[int(base * width)] * blocks)
            parts = zip(widths, widths[1:], strides, strict=False)
            self.blocks.append(nn.Sequential(*(InvertedResidual(a, b, s, expansion) for a, b, s in parts)))
            channels = widths[-1]
        last = int(LAST * max(width, 1.0))
        self.conv2 = nn.Sequential(*_convolution(channels, last, 1))
        self.classifier = nn.Sequential(nn.Linear(last, outputs))
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Fan-out over all groups, as the code in circulation has it; for a depthwise filter that is narrow.
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        x = self.conv1(x)
        for stage in self.blocks:
            x = stage(x)
        x = self.conv2(x)
        # A pool and not x.mean((2, 3)): its gradient lies as the map does, in its order of channels and places.
        logits: Tensor = self.classifier(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def build(in_shape: tuple[int, ...], num_outputs: int, *, width: float = 0.5) -> MobileNetV2:
    """The network for images of `in_shape` (channels, height, width), of any size."""
    if len(in_shape) != 3:
        raise ValueError(f"mobilenetv2 takes images (channels, height, width), the data has {list(in_shape)}")
    if int(NARROWEST * width) < 1:
        raise ValueError(f"width must be at least {1 / NARROWEST}, or a stage has no channel, got {width}", "width")
    return MobileNetV2(in_shape[0], num_outputs, width)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "classifier.0"


def stages(_net: nn.Module) -> list[str]:
    """Paths of the last stage of each resolution and of the last of all; each ends in a linear bottleneck."""
    return ["blocks.1", "blocks.2", "blocks.4", "blocks.6"]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels and outputs, off a state_dict's shapes."""
    return shapes["conv1.0.weight"][1], shapes["classifier.0.weight"][0]

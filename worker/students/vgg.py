"""VGG for small images: 3x3 convolutions with batch norm in five blocks, global pooling, one linear head.

Simonyan, Zisserman 2015, arXiv:1409.1556, table 1 (A, B, D, E), with the hidden linear layers left out; depth 8 and the
names of modules are those of the networks in Tian et al. 2020, CRD, arXiv:1910.10699, so that checkpoints in
circulation fit as they are.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

#: Convolutions in each of the five blocks.
CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
#: The fourth pooling is left out where the map is smaller than this: 32x32 images then end at 4x4, as do 64x64 ones.
SMALLEST_POOLED_LAST = 8


class VGG(nn.Module):
    """Five blocks with pooling between them. Each block ends in its ReLU, and pooling lies outside of it."""

    def __init__(self, inputs: int, outputs: int, convolutions: tuple[int, ...], pool_last: bool) -> None:
        super().__init__()
        starts = (inputs, *WIDTHS)
        blocks = [_block(n, a, b) for n, a, b in zip(convolutions, starts, WIDTHS, strict=False)]
        self.block0, self.block1, self.block2, self.block3, self.block4 = blocks
        self.pool = nn.MaxPool2d(2)
        self.pool3 = nn.MaxPool2d(2) if pool_last else nn.Identity()
        self.classifier = nn.Linear(WIDTHS[-1], outputs)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs)."""
        x = self.pool(self.block0(x))
        x = self.pool(self.block1(x))
        x = self.pool(self.block2(x))
        x = self.pool3(self.block3(x))
        x = self.block4(x)
        # A pool and not x.mean((2, 3)): its gradient lies as the map does, in its order of channels and places.
        logits: Tensor = self.classifier(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


def _block(convolutions: int, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, *[outputs] * (convolutions - 1)):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def build(in_shape: tuple[int, ...], num_outputs: int, *, depth: int) -> VGG:
    """The network for images of `in_shape` (channels, height, width), at least 8x8."""
    if len(in_shape) != 3:
        raise ValueError(f"vgg takes images (channels, height, width), the data has {list(in_shape)}")
    channels, height, width = in_shape
    if min(height, width) < 8:
        raise ValueError(f"vgg halves its images three times and needs at least 8x8, the data has {height}x{width}")
    return VGG(channels, num_outputs, CONVOLUTIONS[depth], min(height, width) // 8 >= SMALLEST_POOLED_LAST)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "classifier"


def stages(_net: nn.Module) -> list[str]:
    """Paths of the five blocks; each ends in a ReLU."""
    return ["block0", "block1", "block2", "block3", "block4"]


def infer(shapes: Mapping[str, tuple[int, ...]], _config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels and outputs, off a state_dict's shapes."""
    return shapes["block0.0.weight"][1], shapes["classifier.weight"][0]

"""Convolutions that do what follows them in the same pass, beside the same network pass by pass."""

import pytest
import torch
from torch import Tensor, nn

from models.spec.students import MLP, VGG, ResNet
from worker.engine.folded import folded
from worker.engine.fused import fused
from worker.engine.networks import Network, build_network


def quick(network: Network, shape: tuple[int, ...]) -> tuple[Network, Network | None]:
    plain = folded(Network(network.module.eval(), network.head, network.stages))
    assert plain is not None
    plain.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return plain, fused(plain, torch.randn(4, *shape).bfloat16().contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("spec", [ResNet(depth=8), ResNet(depth=14), VGG(depth=8)], ids=str)
def test_answers_are_those_of_the_folded_network(spec: ResNet | VGG) -> None:
    torch.manual_seed(0)
    plain, made = quick(build_network(spec, (3, 16, 16), 10), (3, 16, 16))
    assert made is not None
    joined = sum(type(part).__name__ == "_OnePass" for part in made.module.modules())
    assert joined == sum(isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) for part in plain.module.modules())
    x = torch.randn(32, 3, 16, 16).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected, said = plain.module(x).float(), made.module(x).float()
        assert (said - expected).norm() < 0.01 * expected.norm()
        assert torch.equal(made.module(x[5:12]), made.module(x)[5:12]), "a row's answer hangs on that row alone"


def test_a_sum_is_done_once_and_in_the_right_order() -> None:
    """In float32, where both ways round alike: the shortcut on either side of the sum, with and without a ReLU.

    Rows of one channel and batches of one row, whose memory order cannot be told, are like others.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3)
            self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem(x))
            x = torch.relu(x + self.a(x))
            x = self.b(x) + x  # nothing is rectified here, and the sum is read twice
            out: Tensor = self.head((torch.relu(self.c(x)) - x).mean((2, 3)))
            return out

    torch.manual_seed(0)
    module = Net().eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network, x = Network(module, "head"), torch.randn(3, 1, 8, 8)
    made = fused(network, x)
    assert made is not None
    assert sum(type(part).__name__ == "_OnePass" for part in made.module.modules()) == 4
    for dtype in (torch.float32, torch.bfloat16):
        for rows in (x, x[:1], torch.randn(3, 8, 8, 1).permute(0, 3, 1, 2)):
            said, expected = (each.to(dtype)(rows.to(dtype)) for each in (made.module, network.module))
            assert torch.allclose(said.float(), expected.float(), atol=1e-6 if dtype is torch.float32 else 0.05)


def test_what_has_nothing_to_fuse_or_cannot_be_read_is_left_alone() -> None:
    class Shown(nn.Module):
        """Its convolution is read a second time, before the ReLU."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.conv(x)
            out: Tensor = self.head((torch.relu(maps) - maps).mean((2, 3)))
            return out

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            maps = torch.relu(self.conv(x))
            out: Tensor = self.head(maps.mean((2, 3)) if maps.sum() > 0 else maps.amax((2, 3)))
            return out

    x = torch.randn(2, 1, 8, 8)
    for module in (Shown(), Branching()):
        assert fused(Network(module.eval(), "head"), x) is None
    assert fused(build_network(MLP(hidden=[4]), (6,), 2), torch.randn(3, 6)) is None

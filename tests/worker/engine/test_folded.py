"""A frozen network for quick answers, beside itself in float32 and under autocast."""

import torch
from torch import nn

from models.spec.students import MLP, ResNet
from worker.engine.folded import folded
from worker.engine.networks import Network, build_network


def trained(network: Network, shape: tuple[int, ...]) -> Network:
    """With batch norms that have seen something, none of them at its start."""
    for part in network.module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    with torch.no_grad():
        for _ in range(20):
            network.module.train()(torch.randn(64, *shape))
    network.module.eval().requires_grad_(False)
    return network


def test_batch_norms_are_folded_and_the_answers_are_near_those_of_float32() -> None:
    torch.manual_seed(0)
    network = trained(build_network(ResNet(depth=14), (3, 16, 16), 10), (3, 16, 16))
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    quick = folded(network)
    assert quick is not None
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.module.modules())
    assert {p.dtype for p in quick.module.parameters()} == {torch.bfloat16}
    x = torch.randn(32, 3, 16, 16)
    exact = network.module(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = network.module(x).float()
    error = (quick.module(x.bfloat16()).float() - exact).norm() / exact.norm()
    usual = (cast - exact).norm() / exact.norm()
    assert error < 0.05
    assert error < 2 * usual + 0.005, "no worse than autocast, more or less"
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())


def test_folding_alone_is_exact_but_for_the_last_bits() -> None:
    """In float32, the arithmetic of the fold apart from that of bfloat16."""
    torch.manual_seed(1)
    from worker.engine.folded import _fold, _pairs

    module = trained(build_network(ResNet(depth=8), (1, 8, 8), 10), (1, 8, 8)).module
    x = torch.randn(16, 1, 8, 8)
    exact = module(x)
    pairs = _pairs(module)
    assert len(pairs) == sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    for conv, norm in pairs:
        _fold(module, conv, norm)
    assert torch.allclose(module(x), exact, rtol=1e-4, atol=1e-5)


def test_a_network_with_other_norms_is_left_alone() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.norm(x))
            return out

    assert folded(Network(Normed(), "head")) is None


def test_a_convolution_that_two_read_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = self.conv(x)
            out: torch.Tensor = self.head((self.norm(maps) + maps).mean((2, 3)))
            return out

    assert folded(Network(Shared(), "head")) is None


def test_a_network_without_batch_norms_is_held() -> None:
    quick = folded(build_network(MLP(hidden=[4]), (6,), 2))
    assert quick is not None
    assert quick.module(torch.randn(3, 6).bfloat16()).shape == (3, 2)

"""The averaged copy of the student."""

import torch
from torch import nn

from worker.engine.ema import Average


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def move(net: nn.Module) -> None:
    """A step of some kind: other weights, other statistics."""
    net(torch.randn(8, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_it_follows_the_formula_with_a_short_memory_at_first() -> None:
    net = network()
    average = Average(net, 0.9)
    expected = {name: x.clone() for name, x in net.state_dict().items()}
    for step in range(1, 120):
        move(net)
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, x in net.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * x if x.is_floating_point() else x
    found = average.module.state_dict()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x.to(found[name].dtype), rtol=1e-4, atol=1e-5)


def test_it_is_apart_from_the_student() -> None:
    net = network()
    average = Average(net, 0.5)
    before = average.module.state_dict()["0.weight"].clone()
    move(net)
    assert torch.equal(average.module.state_dict()["0.weight"], before)
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())


def test_it_goes_on_from_its_state() -> None:
    torch.manual_seed(1)
    net = network()
    average = Average(net, 0.99)
    move(net)
    average.update()
    other = Average(network(), 0.99)
    other.load_state_dict({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in average.state_dict().items()})
    other_source = other._sources
    with torch.no_grad():
        for mine, theirs in zip(other_source, average._sources, strict=True):
            mine.copy_(theirs)
    average.update()
    other.update()
    for name, x in average.module.state_dict().items():
        if x.is_floating_point():
            assert torch.equal(x, other.module.state_dict()[name])

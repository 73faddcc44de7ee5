"""A perceptron's passes by formula give what autograd gives, bit by bit."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec import students as menu
from worker.engine.networks import build_network
from worker.engine.perceptron import Perceptron
from worker.engine.taps import Tapped
from worker.students.mlp import MLP, build, chain

ROWS, WIDTH, CLASSES = 7, 12, 3


def net(*hidden: int, dropout: float = 0.0, batch_norm: bool = False) -> MLP:
    torch.manual_seed(0)
    return build((WIDTH,), CLASSES, hidden=hidden, dropout=dropout, batch_norm=batch_norm)


def rows(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def gradients(module: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in module.parameters()]
    return [grad for grad in found if grad is not None]


@pytest.mark.parametrize("hidden", [(), (8,), (8, 5, 6)])
@pytest.mark.parametrize("shape", [(ROWS, WIDTH), (ROWS, 3, 2, 2), (1, WIDTH)])
def test_values_and_gradients_are_those_of_autograd(hidden: tuple[int, ...], shape: tuple[int, ...]) -> None:
    one, other = net(*hidden), net(*hidden)
    x, grad_NC = rows(*shape), rows(shape[0], CLASSES)
    formula = Perceptron(chain(one))
    logits, add_gradient = formula(x)
    expected = other(x)
    add_gradient(grad_NC)
    torch.autograd.backward(expected, grad_NC)
    assert torch.equal(logits, expected)
    assert len(gradients(one)) == 2 * len(hidden) + 2
    assert all(torch.equal(a, b) for a, b in zip(gradients(one), gradients(other), strict=True))


def test_gradients_are_those_of_differences_in_float64() -> None:
    module = net(6).double()
    x = rows(ROWS, WIDTH).double()
    y = torch.arange(ROWS) % CLASSES
    formula = Perceptron(chain(module))
    logits, add_gradient = formula(x)
    torch.autograd.backward(F.cross_entropy(logits, y))
    assert logits.grad is not None
    add_gradient(logits.grad)
    weight, eps = next(module.parameters()), 1e-6
    for at in [(0, 0), (3, 7), (5, 11)]:
        with torch.no_grad():
            weight[at] += eps
            above = F.cross_entropy(module(x), y)
            weight[at] -= 2 * eps
            below = F.cross_entropy(module(x), y)
            weight[at] += eps
        assert weight.grad is not None
        assert float(weight.grad[at]) == pytest.approx(float((above - below) / (2 * eps)), rel=1e-5, abs=1e-9)


def test_gradients_of_several_batches_add_up() -> None:
    one, other = net(8), net(8)
    formula = Perceptron(chain(one))
    for number in range(3):
        x, grad_NC = rows(ROWS, WIDTH) + number, rows(ROWS, CLASSES) * number
        formula(x)[1](grad_NC)
        torch.autograd.backward(other(x), grad_NC)
    assert all(torch.equal(a, b) for a, b in zip(gradients(one), gradients(other), strict=True))


def test_weights_that_are_loaded_later_are_those_that_count() -> None:
    module, loaded = net(8), net(8)
    formula = Perceptron(chain(module))
    with torch.no_grad():
        loaded.head.bias.add_(1)
    module.load_state_dict(loaded.state_dict())
    assert torch.equal(formula(rows(ROWS, WIDTH))[0], loaded(rows(ROWS, WIDTH)))


@pytest.mark.parametrize("other", [{"dropout": 0.5}, {"batch_norm": True}])
def test_with_more_than_relu_between_its_layers_a_network_has_none(other: dict[str, Any]) -> None:
    assert len(chain(net(8, 5))) == 3
    assert chain(net(8, 5, **other)) == []


def test_where_something_is_read_inside_the_network_is_called_as_it_is() -> None:
    network = build_network(menu.MLP(hidden=[8]), (WIDTH,), CLASSES)
    for taps, has_formula in (([], True), (["hidden.0"], False)):
        tapped = Tapped(network, taps)
        tapped.take_formula()
        said = tapped(rows(ROWS, WIDTH))
        assert (said.add_gradient is not None) is has_formula
        assert list(said.features) == taps
        tapped.close()

"""Batch norm by formula gives what Ioffe & Szegedy write down, and what torch gives, where a network is compiled."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from worker.engine.batch_norm import BatchNorm, _Normalised, join
from worker.engine.compiled import unheard

EPS, MOMENTUM = 1e-5, 0.1


def derived(x: Any, weight: Any, bias: Any, grad: Any) -> dict[str, Any]:
    """Algorithm 1, and the chain rule below it line by line, in float64. Maps are (N, C, H, W)."""
    axes, on = (0, 2, 3), np.s_[None, :, None, None]
    m = x.size // x.shape[1]
    mean, var = x.mean(axes), x.var(axes)
    root = np.sqrt(var + EPS)
    normal = (x - mean[on]) / root[on]
    d_normal = grad * weight[on]
    d_var = (d_normal * (x - mean[on])).sum(axes) * -0.5 * (var + EPS) ** -1.5
    d_mean = -(d_normal.sum(axes)) / root + d_var * (-2 * (x - mean[on])).mean(axes)
    return {
        "out": weight[on] * normal + bias[on],
        "x": d_normal / root[on] + d_var[on] * 2 * (x - mean[on]) / m + d_mean[on] / m,
        "weight": (grad * normal).sum(axes),
        "bias": grad.sum(axes),
        "mean": mean,
        "var": var,
    }


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 2.0), (50.0, 0.1), (-400.0, 1.0)])
def test_outputs_gradients_and_statistics_are_those_of_the_paper(mean: float, std: float) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(mean, std, (6, 5, 4, 3))).astype(np.float32)
    weight, bias, grad = rng.uniform(0.5, 2, 5), rng.normal(size=5), rng.normal(size=x.shape)
    given = [torch.tensor(each, dtype=torch.float32).requires_grad_() for each in (x, weight, bias)]
    out, mean_C, var_C = _Normalised.apply(*given, EPS)  # type: ignore[no-untyped-call]
    assert not mean_C.requires_grad and not var_C.requires_grad  # noqa: PT018
    out.backward(torch.tensor(grad, dtype=torch.float32))
    wide = [each.detach().double().numpy() for each in given]
    expected = derived(wide[0], wide[1], wide[2], grad)
    found = {"out": out, "mean": mean_C, "var": var_C}
    found |= {name: each.grad for name, each in zip(("x", "weight", "bias"), given, strict=True)}
    # A mean of many deviations costs digits of x itself.
    bound = 1e-6 * max(4, 4 * abs(mean) / std)
    for name, each in found.items():
        error = np.abs(each.detach().double().numpy() - expected[name]).max() / np.abs(expected[name]).max()
        assert error < bound, (name, error)


def test_bfloat16_is_rounded_once_at_the_end() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 5, 4, 3).bfloat16()
    weight, bias = torch.rand(5) + 0.5, torch.randn(5)
    out, *_ = _Normalised.apply(x, weight, bias, EPS)  # type: ignore[no-untyped-call]
    exact, *_ = _Normalised.apply(x.float(), weight, bias, EPS)  # type: ignore[no-untyped-call]
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact.bfloat16())


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))


def traced(module: nn.Module) -> tuple[Callable[[Tensor], Tensor], list[str]]:
    """The module as the compiler reads it, run as it is, and the operations that the compiler is given."""
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    called = torch.compile(module, backend=backend, dynamic=False)

    def call(x: Tensor) -> Tensor:
        with unheard():
            said: Tensor = called(x)
        return said

    return call, seen


def test_a_compiled_network_trains_as_one_of_torch_and_keeps_the_same_state() -> None:
    plain = network().train()
    joined = copy.deepcopy(plain)
    join(joined)
    called, seen = traced(joined)
    for _ in range(3):
        x = torch.randn(5, 3, 8, 8) + 2
        for module, call in ((plain, plain), (joined, called)):
            module.zero_grad()
            call(x).square().sum().backward()
        for (name, ours), theirs in zip(joined.named_parameters(), plain.parameters(), strict=True):
            # The gradient of a bias before a batch norm is nothing but rounding.
            if name not in ("0.bias", "3.bias"):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)
    assert seen, "nothing was compiled"
    assert not any("batch_norm" in each for each in seen), "the compiler was given torch's own kernel"
    state, expected = joined.state_dict(), plain.state_dict()
    assert list(state) == list(expected)
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)
    assert int(state["1.num_batches_tracked"]) == 3


def test_not_compiled_or_in_evaluation_it_is_torchs_own_bit_by_bit() -> None:
    plain = network()
    joined = copy.deepcopy(plain)
    join(joined)
    x = torch.randn(5, 3, 8, 8)
    assert torch.equal(joined.train()(x), plain.train()(x))
    called, seen = traced(joined.eval())
    assert torch.equal(called(x), plain.eval()(x))
    assert any("batch_norm" in each for each in seen)


def test_what_it_cannot_compute_stays_as_it_is() -> None:
    odd = nn.Sequential(
        nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm2d(2, momentum=None)
    )
    join(odd)
    assert {type(part) for part in odd} == {nn.BatchNorm2d}
    one = nn.Sequential(nn.BatchNorm2d(2)).train()
    join(one)
    assert type(one[0]) is BatchNorm
    called, _ = traced(one)
    with pytest.raises(Exception, match="more than 1 value per channel"):
        called(torch.randn(1, 2, 1, 1))

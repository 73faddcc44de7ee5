"""Optimizers and learning rates."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from models.spec.training import Optimizer, Schedule
from worker.engine.optim import bare_step, make_optimizer, rate, set_rate

OPTIMIZER: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
SCHEDULE: TypeAdapter[Schedule] = TypeAdapter(Schedule)


def rates(schedule: dict[str, Any], steps: int = 100, steps_per_epoch: int = 10) -> list[float]:
    parsed = SCHEDULE.validate_python(schedule)
    return [rate(parsed, 0.2, step, steps, steps_per_epoch) for step in range(steps)]


def test_a_constant_rate() -> None:
    assert rates({"type": "constant"}) == [0.2] * 100


def test_a_cosine_falls_from_the_full_rate_towards_the_final_share() -> None:
    found = rates({"type": "cosine", "final": 0.1})
    assert found[0] == pytest.approx(0.2)
    assert found[50] == pytest.approx(0.2 * 0.55)
    assert found == sorted(found, reverse=True)
    assert 0.02 < found[-1] < 0.0201


def test_steps_fall_at_their_shares_of_the_run() -> None:
    found = rates({"type": "step", "milestones": [0.5, 0.75], "gamma": 0.1})
    assert found[49] == pytest.approx(0.2)
    assert found[50] == pytest.approx(0.02)
    assert found[74] == pytest.approx(0.02)
    assert found[75] == pytest.approx(0.002)


@pytest.mark.parametrize("kind", ["constant", "cosine", "step"])
def test_the_warm_up_climbs_in_equal_parts_to_the_full_rate(kind: str) -> None:
    found = rates({"type": kind, "warmup_epochs": 0.4})
    assert found[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert found[4] == pytest.approx(0.2)


def test_a_warm_up_longer_than_the_run_never_passes_the_full_rate() -> None:
    assert max(rates({"type": "cosine", "warmup_epochs": 100})) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"type": "sgd", "momentum": 0.8, "nesterov": False, "weight_decay": 0.01}, torch.optim.SGD),
        ({"type": "adam", "betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 0.02}, torch.optim.Adam),
        ({"type": "adamw", "betas": [0.8, 0.9], "weight_decay": 0.03}, torch.optim.AdamW),
    ],
)
def test_a_step_is_that_of_plain_torch(spec: dict[str, Any], kind: Any) -> None:
    def three_steps(optimizer: torch.optim.Optimizer, net: nn.Module) -> list[torch.Tensor]:
        for at in range(3):
            net(torch.ones(2, 3) * at).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach() for p in net.parameters()]

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    parsed = OPTIMIZER.validate_python(spec)
    ours, plain = fresh(), fresh()
    options = {name: value for name, value in parsed.model_dump().items() if name != "type"}
    expected = three_steps(kind(plain.parameters(), **options, fused=False, foreach=False), plain)
    torch.testing.assert_close(three_steps(make_optimizer(parsed, ours.parameters()), ours), expected)


def test_every_trained_parameter_decays_and_frozen_ones_stay() -> None:
    layer = nn.Linear(2, 2)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    optimizer = make_optimizer(OPTIMIZER.validate_python({"type": "adamw", "weight_decay": 0.5}), layer.parameters())
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    both = make_optimizer(
        OPTIMIZER.validate_python({"type": "sgd"}), [*layer.parameters(), *frozen.parameters()]
    ).param_groups[0]["params"]
    assert len(both) == 2


def test_the_rate_of_a_step_is_set_for_all_parameters() -> None:
    optimizer = make_optimizer(OPTIMIZER.validate_python({"type": "sgd"}), nn.Linear(2, 2).parameters())
    set_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125]


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_bare_step_moves_as_the_step_does(kind: str) -> None:
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    nets[1].load_state_dict(nets[0].state_dict())
    spec = OPTIMIZER.validate_python({"type": kind, "lr": 0.1})
    made = [make_optimizer(spec, net.parameters()) for net in nets]
    steps: list[Callable[[], object]] = [made[0].step, bare_step(made[1])]
    for net, step in zip(nets, steps, strict=True):
        for _ in range(3):
            for parameter in net.parameters():
                parameter.grad = parameter.detach().cos()
            step()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.requires_grad


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_weights_that_lie_channels_last_move_as_others_do(kind: str) -> None:
    # The fused kernels go through memory: gradients that lay otherwise than their weights would move the wrong ones.
    def trained(layout: torch.memory_format) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 3)
        net.weight.data = net.weight.data.contiguous(memory_format=layout)
        step = bare_step(make_optimizer(OPTIMIZER.validate_python({"type": kind, "lr": 0.1}), net.parameters()))
        x = torch.randn(2, 3, 6, 6).contiguous(memory_format=layout)
        for _ in range(3):
            torch.autograd.backward(net(x).square().mean())
            step()
            net.zero_grad()
        return net.weight.detach()

    torch.testing.assert_close(trained(torch.channels_last), trained(torch.contiguous_format), rtol=1e-4, atol=1e-5)

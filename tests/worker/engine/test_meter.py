"""Means over an epoch, and the first step that went wrong."""

import math

import pytest
import torch

from worker.engine.goal import Goal
from worker.engine.meter import Meter

CPU = torch.device("cpu")


def meter_of(*names: str) -> Meter:
    goal = Goal()
    goal.names = list(names)
    return Meter(goal, CPU)


def test_means_are_weighted_by_the_samples() -> None:
    meter = meter_of("loss", "kd")
    meter.add(torch.tensor([1.0, 10.0]), 3)
    meter.add(torch.tensor([5.0, 20.0]), 1)
    assert meter.read() == {"loss": 2.0, "kd": 12.5}
    meter.clear()
    assert meter.read() == {"loss": 0.0, "kd": 0.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_batch_is_known_though_others_follow(bad: float) -> None:
    meter = meter_of("loss")
    for value in (1.0, 2.0, bad, 3.0, -bad, bad):
        meter.add(torch.tensor([value]), 2)
    assert meter.first_bad() == 2
    meter.clear()
    meter.add(torch.tensor([1.0]), 2)
    assert meter.first_bad() is None


def test_sums_go_on_from_a_saved_state() -> None:
    meter, other = meter_of("loss"), meter_of("loss")
    meter.add(torch.tensor([1.0]), 2)
    other.load_state_dict(meter.state_dict())
    for m in (meter, other):
        m.add(torch.tensor([4.0]), 4)
    assert meter.read() == other.read() == {"loss": 3.0}
    assert other.first_bad() is None


def test_a_long_epoch_is_that_of_single_steps_and_goes_on_bit_by_bit_from_anywhere() -> None:
    values = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    meter = meter_of("loss", "kd")
    for at, pair in enumerate(values):
        if at == 100:
            resumed = meter_of("loss", "kd")
            resumed.load_state_dict(meter.state_dict())
        if at >= 100:
            resumed.add(pair, at)
        meter.add(pair, at)
    assert meter.read() == resumed.read()
    sizes = torch.arange(200, dtype=torch.float64)
    expected = (values.double() * sizes[:, None]).sum(0) / sizes.sum()
    assert list(meter.read().values()) == pytest.approx(expected.tolist(), rel=1e-12)
    assert meter.first_bad() is None


def test_a_bad_step_is_found_wherever_it_is() -> None:
    for place in (0, 63, 64, 130, 199):
        meter = meter_of("loss")
        for at in range(200):
            meter.add(torch.tensor([math.nan if at in (place, 180) else 1.0]), 1)
        assert meter.first_bad() == min(place, 180)

"""What scaling by operations says where the truth is known."""

from math import exp, log

import pytest

from core import scaling
from core.scaling import Measured, Point


def at(flops: float, family: str = "resnet", precision: str = "float32") -> Point:
    return Point(log(flops), family, precision)


def works(*pairs: tuple[float, float], family: str = "resnet") -> list[Measured]:
    """Works of so many operations and seconds a step."""
    return [Measured(at(flops, family), log(seconds)) for flops, seconds in pairs]


def predict(to: Point, measured: list[Measured]) -> float:
    return scaling.predict(to, measured, 1e10)


def error(to: Point, measured: list[Measured]) -> float:
    return scaling.error(to, measured, 1e10)


BUSY = works(*((flops, flops / 1e10) for flops in (1e9, 3e9, 1e10, 3e10, 1e11)))
WAITING = works(*((flops, 1e-3) for flops in (1e4, 1e5, 1e6)))


def test_a_busy_device_takes_time_in_proportion() -> None:
    assert exp(predict(at(2e10), BUSY)) == pytest.approx(2, rel=0.15)


def test_a_waiting_device_takes_as_long_whatever_there_is_to_do() -> None:
    assert exp(predict(at(2e4), WAITING)) == pytest.approx(1e-3, rel=0.3)


def test_both_are_told_apart_by_what_is_near() -> None:
    assert exp(predict(at(2e10), [*BUSY, *WAITING])) == pytest.approx(2, rel=0.4)
    assert exp(predict(at(5e4), [*BUSY, *WAITING])) == pytest.approx(1e-3, rel=0.6)


def test_the_same_family_counts_more() -> None:
    slow = works((1e9, 1.0), (1e10, 10.0), family="mobilenetv2")
    fast = works((1e9, 0.1), (1e10, 1.0))
    assert predict(at(3e9, "mobilenetv2"), [*slow, *fast]) > predict(at(3e9), [*slow, *fast]) + log(3)


def test_a_single_work_shows_by_its_rate_whether_it_waited() -> None:
    assert exp(predict(at(1e10), works((1e9, 0.1)))) == pytest.approx(1.0)
    assert exp(predict(at(1e7), works((1e5, 1e-3)))) == pytest.approx(1e-3 * (0.99 + 0.01 * 100), rel=0.05)


def test_a_single_work_is_scaled_with_a_wide_range() -> None:
    alone = works((1e9, 0.1))
    assert error(at(1e9), alone) >= log(4)
    assert error(at(1e10), alone) > error(at(2e9), alone)


def test_the_range_is_as_wide_as_scaling_is_off() -> None:
    noisy = works(
        *((flops, flops / 1e10 * wrong) for flops, wrong in ((1e9, 1), (2e9, 9), (3e9, 1), (5e9, 9), (8e9, 1)))
    )
    assert error(at(4e9), noisy) > error(at(4e9), BUSY) + log(1.5)


def test_another_format_is_further_away_and_auto_is_not() -> None:
    assert at(1e9).distance(at(1e9, precision="auto")) == 0
    assert at(1e9).distance(at(1e9, precision="bf16")) > 0

"""Figures of regression in the target's own units, and what counts as weak."""

import pytest
import torch

from models.canonical import DatasetMeta, Target
from models.spec.training import Train
from worker.engine.outputs import Batch
from worker.tasks.tabular_regression import TabularRegression

MEAN, STD = 200_000.0, 50_000.0


def task() -> TabularRegression:
    target = Target(name="price", mean=MEAN, std=STD)
    data = DatasetMeta(task="tabular_regression", counts={}, input_shape=(3,), num_outputs=1, target=target)
    return TabularRegression(data, Train())


def draw(noise: float, n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(n, generator=generator)
    return (y + noise * torch.randn(n, generator=generator))[:, None], y


def test_figures_are_in_the_units_of_the_target() -> None:
    value, y = draw(0.5)
    found = task().metrics(value, y)
    price, truth = (x.double().numpy() * STD + MEAN for x in (value[:, 0], y))
    assert found["rmse"] == pytest.approx(((price - truth) ** 2).mean() ** 0.5)
    assert found["mae"] == pytest.approx(abs(price - truth).mean())
    assert found["r2"] == pytest.approx(1 - ((price - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def test_the_label_loss_is_the_squared_error_of_the_standardised_target() -> None:
    value, y = draw(0.5)
    assert task().hard(value, Batch(y, y)).item() == pytest.approx(float(((value[:, 0] - y) ** 2).mean()), rel=1e-5)
    first = torch.zeros(400)
    first[:10] = 1
    weighted = task().hard(value, Batch(y, y, first)).item()
    assert weighted == pytest.approx(float(((value[:10, 0] - y[:10]) ** 2).mean()), rel=1e-5)


@pytest.mark.parametrize(("noise", "weak"), [(0.1, False), (0.6, False), (3.0, True)])
def test_a_teacher_no_better_than_the_mean_is_weak(noise: float, weak: bool) -> None:
    verdict = task().judge(*draw(noise), None)
    assert bool(verdict.why) == weak


def test_always_saying_the_mean_is_weak() -> None:
    _, y = draw(0.0)
    assert "r2 is" in task().judge(y.mean().expand(400, 1), y, None).why


def test_the_units_of_the_teacher_are_told_by_the_labels() -> None:
    value, y = draw(0.2)
    assert task().units(value, y) is None
    units = task().units(value * STD + MEAN, y)
    assert units is not None
    scale, shift = units
    torch.testing.assert_close((value * STD + MEAN) * scale + shift, value, rtol=1e-3, atol=1e-3)


def test_agreement_is_the_variance_of_the_teacher_that_the_student_explains() -> None:
    value, y = draw(0.5)
    assert task().agreement(y[:, None], y[:, None]) == 1.0
    assert 0.5 < task().agreement(y[:, None], value) < 1
    assert task().rank({"rmse": 1.0}) > task().rank({"rmse": 2.0})

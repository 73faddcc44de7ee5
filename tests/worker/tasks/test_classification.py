"""Figures of classification against NumPy, and what counts as weak or suspicious."""

from math import e, log
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.canonical import DatasetMeta
from models.spec.training import Train
from worker.engine.outputs import Batch
from worker.tasks._classification import on_double_softmax_floor
from worker.tasks.image_classification import ImageClassification
from worker.tasks.tabular_classification import TabularClassification


def task(C: int = 12, **train: Any) -> TabularClassification:
    data = DatasetMeta(
        task="tabular_classification", counts={}, input_shape=(3,), num_outputs=C, classes=[f"c{c}" for c in range(C)]
    )
    return TabularClassification(data, Train(**train))


def draw(n: int = 500, C: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, C, (n,), generator=generator)
    return 2 * torch.randn(n, C, generator=generator) + 2 * F.one_hot(y, C), y


def test_figures_are_those_of_a_plain_computation() -> None:
    logits, y = draw()
    found = task().metrics(logits, y)
    z, labels = logits.numpy().astype(np.float64), y.numpy()
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    said = z.argmax(1)
    assert found["accuracy"] == pytest.approx((said == labels).mean())
    assert found["cross_entropy"] == pytest.approx(-np.log(p[np.arange(len(y)), labels]).mean())
    best = np.argsort(-z, 1)[:, :5]
    assert found["top5"] == pytest.approx(np.mean([label in five for label, five in zip(labels, best, strict=True)]))
    ece = 0.0
    for low in np.arange(15) / 15:
        inside = (p.max(1) >= low) & (p.max(1) < low + 1 / 15)
        if inside.any():
            ece += inside.mean() * abs((said == labels)[inside].mean() - p.max(1)[inside].mean())
    assert found["ece"] == pytest.approx(ece, abs=1e-9)


def test_top5_is_left_out_where_there_are_few_classes() -> None:
    logits, y = draw(C=9)
    assert "top5" not in task(9).metrics(logits, y)


def test_a_class_without_rows_has_no_accuracy() -> None:
    logits = torch.eye(3)
    found = task(3).details(logits, torch.tensor([0, 1, 1]))
    assert found == {"accuracy_by_class": {"c0": 1.0, "c1": 0.5, "c2": None}}


def test_the_label_loss_is_cross_entropy_with_weights_and_smoothing() -> None:
    logits, y = draw(40)
    plain = task().hard(logits, Batch(y, y))
    assert plain.item() == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    smoothed = task(label_smoothing=0.2).hard(logits, Batch(y, y))
    assert smoothed.item() == pytest.approx(F.cross_entropy(logits, y, label_smoothing=0.2).item(), rel=1e-5)
    half = torch.cat([torch.ones(20), torch.zeros(20)])
    weighted = task().hard(logits, Batch(y, y, half))
    assert weighted.item() == pytest.approx(F.cross_entropy(logits[:20], y[:20]).item(), rel=1e-5)


def test_ranks_by_accuracy_and_breaks_ties_by_cross_entropy() -> None:
    rank = task().rank
    assert rank({"accuracy": 0.9, "cross_entropy": 9}) > rank({"accuracy": 0.8, "cross_entropy": 1})
    assert rank({"accuracy": 0.9, "cross_entropy": 1}) > rank({"accuracy": 0.9, "cross_entropy": 2})


def test_agreement_is_the_share_of_equal_answers() -> None:
    a, b = torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]
    assert task(4).agreement(a, b) == 0.5


@pytest.mark.parametrize(("right", "weak"), [(54, True), (69, True), (70, False), (100, False)])
def test_two_standard_errors_above_the_commonest_class_is_the_bar(right: int, weak: bool) -> None:
    """100 rows, 60 of one class: a guess has 0.6, two standard errors are 0.098."""
    y = torch.tensor([0] * 60 + [1] * 40)
    said = y.clone()
    said[right:] = 1 - y[right:]
    verdict = task(2).judge(F.one_hot(said, 2).float(), y, None)
    assert bool(verdict.why) == weak
    assert verdict.figures["accuracy"] == right / 100
    assert verdict.figures["chance"] == 0.6


@pytest.mark.parametrize(("declared", "weak"), [(None, False), (0.95, False), (0.99, False), (1.0, True)])
def test_more_than_ten_points_under_what_was_declared_is_weak(declared: float | None, weak: bool) -> None:
    y = torch.arange(1000) % 10
    said = y.clone()
    said[:110] = (y[:110] + 1) % 10
    assert bool(task(10).judge(F.one_hot(said, 10).float(), y, declared).why) == weak


@pytest.mark.parametrize("C", [2, 10, 100])
def test_the_double_softmax_floor_is_seen(C: int) -> None:
    """Probabilities of a sure network, taken for logits."""
    y = torch.arange(1000) % C
    said = y.clone()
    said[:50] = (y[:50] + 1) % C  # one in twenty is wrong
    p = (50.0 * F.one_hot(said, C)).softmax(1)
    figures = {"hard": float(F.cross_entropy(p, y)), "accuracy": 0.95}
    assert figures["hard"] == pytest.approx(log(1 + (C - 1) / e) + 0.05, abs=1e-6)
    assert f"{log(1 + (C - 1) / e):.3f}" in task(C).suspicion([figures] * 3)
    assert task(C).suspicion([figures] * 2) == ""


def test_honest_training_is_not_suspected() -> None:
    # Passing by the floor of ten classes, 1.461, on the way down; at chance; and as a table of two classes ends.
    passing = [(2.0, 0.4), (1.6, 0.7), (1.48, 0.8), (1.2, 0.85)]
    assert not any(on_double_softmax_floor(passing[: at + 1], 10) for at in range(4))
    assert not on_double_softmax_floor([(2.302, 0.1)] * 5, 10)
    assert not on_double_softmax_floor([(0.32, 0.85)] * 5, 2)


def test_images_are_augmented_as_the_spec_says_and_rows_never() -> None:
    data = DatasetMeta(task="image_classification", counts={}, input_shape=(1, 28, 28), num_outputs=2)
    assert ImageClassification(data, Train()).augmentation() is not None
    assert ImageClassification(data, Train(augment="none")).augmentation() is None
    assert task().augmentation() is None  # type: ignore[func-returns-value]

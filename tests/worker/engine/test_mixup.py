"""Mixtures of samples as a pure function of (seed, epoch, ids)."""

from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.training import Train
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from worker.engine.augment import Augmentation
from worker.engine.data import Rows
from worker.engine.mixup import Mixed, Mixup, from_spec
from worker.engine.outputs import Batch
from worker.engine.task import make_task

N = 300


def rows(n: int = N) -> Rows:
    x = torch.randint(0, 256, (n, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Rows(x.permute(0, 3, 1, 2), torch.arange(n) % 10, 7 * torch.arange(n) + 3)


def some(whole: Rows, at: Tensor) -> Rows:
    return Rows(whole.raw[at], whole.y[at], whole.ids[at])


def test_each_sample_is_mixed_with_one_other_and_none_is_left_out() -> None:
    given = rows()
    given = Rows(given.raw, torch.arange(N), given.ids)  # labels that tell samples apart
    mixed = Mixup(1.0, 0)(given, 0)
    partner = mixed.y_other
    assert partner.sort().values.tolist() == list(range(N))
    assert (partner != torch.arange(N)).all()
    share = mixed.share[:, None, None, None]
    expected = share * given.raw + (1 - share) * given.raw[partner]
    torch.testing.assert_close(mixed.rows.raw, expected)
    assert mixed.rows.raw.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mixed.rows.y, given.y)
    assert torch.equal(mixed.rows.ids, given.ids)


def same(a: Mixed, b: Mixed, at: Tensor | None = None) -> bool:
    def pick(x: Tensor) -> Tensor:
        return x if at is None else x[at]

    return all(
        torch.equal(pick(x), y)
        for x, y in zip(
            (a.rows.raw, a.y_other, a.share, a.rows.ids), (b.rows.raw, b.y_other, b.share, b.rows.ids), strict=True
        )
    )


def test_the_same_samples_are_mixed_alike_in_any_order() -> None:
    given, order = rows(), torch.randperm(N, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    whole = Mixup(0.4, 5)(given, 2)
    torch.manual_seed(2)
    assert same(Mixup(0.4, 5)(given, 2), whole)
    assert same(whole, Mixup(0.4, 5)(some(given, order), 2), order)


def test_seed_and_epoch_mix_anew() -> None:
    given = rows()
    first = Mixup(0.4, 0)(given, 0)
    for other in (Mixup(0.4, 0)(given, 1), Mixup(0.4, 1)(given, 0)):
        assert not torch.equal(first.y_other, other.y_other)
        assert not torch.equal(first.share, other.share)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_those_of_the_beta_distribution(alpha: float) -> None:
    """Its mean is 1/2 and its variance 1 / (4 (2 alpha + 1))."""
    share = Mixup(alpha, 3)(rows(20_000), 0).share.double()
    assert 0 <= share.min() <= share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_rows_of_a_table_are_mixed_and_one_row_alone_stays() -> None:
    table = Rows(torch.randn(6, 4), torch.arange(6), torch.arange(6))
    mixed = Mixup(1.0, 0)(table, 0)
    expected = torch.lerp(table.raw[mixed.y_other], table.raw, mixed.share[:, None])
    torch.testing.assert_close(mixed.rows.raw, expected)
    alone = Rows(table.raw[:1], table.y[:1], table.ids[:1])
    torch.testing.assert_close(Mixup(1.0, 0)(alone, 0).rows.raw, alone.raw)


def test_it_takes_what_the_augmentation_gives() -> None:
    given = rows()
    changed = Rows(Augmentation(1, True, 0)(given.raw, given.ids, 0), given.y, given.ids)
    assert Mixup(0.2, 0)(changed, 0).rows.raw.shape == given.raw.shape


def test_no_alpha_is_no_mixing() -> None:
    assert from_spec(Train()) is None
    assert from_spec(Train(mixup=0.2)) is not None


@pytest.mark.parametrize("weighted", [False, True])
def test_the_label_loss_of_mixtures_is_the_mixture_of_label_losses(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 10, generator=generator)
    y, other = torch.randint(10, (2, 6), generator=generator)
    share, weight = torch.rand(2, 6, generator=generator)
    train: Any = Train(mixup=0.2, label_smoothing=0.1)
    task = make_task(orders.digits()[1], train)
    batch = Batch(y, torch.arange(6), weight if weighted else None, y_other=other, share=share)
    one, two = (F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1) for labels in (y, other))
    each = share * one + (1 - share) * two
    expected = (weight * each).sum() / weight.sum() if weighted else each.mean()
    torch.testing.assert_close(task.hard(*batch.by_label(logits)), expected)


def test_a_job_asks_the_teacher_of_mixtures_at_each_step_and_still_learns(make: Make, tmp_path: Path) -> None:
    order = make(train={"mixup": 0.2, "epochs": 3, "batch_size": 64, "augment": "none"})
    trained = run(order, tmp_path / "work")
    assert {"phase": "caching"} not in orders.events(tmp_path / "work", "phase")
    assert trained.report["test"]["student"]["accuracy"] > 0.5
    run(make("plain", train={"epochs": 3, "batch_size": 64, "augment": "none"}), tmp_path / "plain")
    assert {"phase": "caching"} in orders.events(tmp_path / "plain", "phase")
    mixed, single = (orders.events(tmp_path / name, "metrics")[-1]["train"]["hard"] for name in ("work", "plain"))
    assert mixed > single, "no one can be sure of a mixture"


@pytest.mark.parametrize(
    "fields",
    [
        {"teacher": {"type": "ema"}},
        {"teacher": {"type": "snapshot", "every": 1}},
        {"teacher": {"type": "born_again", "generations": 2}},
        {"teacher": {"type": "peers", "students": [{"type": "mlp", "hidden": [20]}]}},
        {"teacher": {"type": "branches"}},
        {"assistants": [{"student": {"type": "mlp", "hidden": [20]}}]},
    ],
    ids=["ema", "snapshot", "born_again", "peers", "branches", "assistants"],
)
def test_it_goes_with_every_way_of_teaching(small: Make, tmp_path: Path, fields: dict[str, Any]) -> None:
    student = {"type": "mlp", "hidden": [16, 16]}
    order = small(student=student, loss={"type": "kd"}, train={"mixup": 0.2, "epochs": 2, "control": False}, **fields)
    trained = run(order, tmp_path / "work")
    lines = orders.events(tmp_path / "work", "metrics")
    assert len({line["run"] for line in lines}) == len(trained.attempt.finished)
    assert all(isfinite(value) for line in lines for value in line["train"].values())


def test_a_regression_has_the_gradient_of_the_mixed_target() -> None:
    task = make_task(orders.ink()[1], Train(mixup=0.2))
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(6, 1, generator=generator, requires_grad=True)
    y, other, share = torch.rand(3, 6, generator=generator)
    batch = Batch(y, torch.arange(6), y_other=other, share=share)
    (gradient,) = torch.autograd.grad(task.hard(*batch.by_label(value)), value)
    expected = 2 * (value.detach()[:, 0] - share * y - (1 - share) * other) / 6
    torch.testing.assert_close(gradient, expected[:, None])

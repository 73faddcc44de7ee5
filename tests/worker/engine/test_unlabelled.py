"""Rows without labels: trained by the teacher alone, and scored by agreement where a split has none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import UserConfig
from models.canonical import SPLITS, DatasetMeta, Target
from models.spec.training import Train
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught, Trained, run
from worker.engine.outputs import Batch
from worker.tasks.tabular_classification import TabularClassification
from worker.tasks.tabular_regression import TabularRegression

PLAIN = {"type": "mlp", "hidden": [16]}


def without(data: Data, keep: dict[str, int]) -> Data:
    """The data with so many labels left in each split that is named."""
    tensors, meta = data
    y, missing = tensors["y"].clone(), torch.nan if tensors["y"].is_floating_point() else -1
    for split, num in keep.items():
        rows = (tensors["split"] == SPLITS.index(split)).nonzero()[:, 0]
        y[rows[num:]] = missing
    return {**tensors, "y": y}, meta.model_copy(update={"labelled": keep})


def train(folder: Path, data: Data, taught: Taught, **fields: Any) -> Trained:
    length = {"epochs": 6, **fields.pop("train", {})}
    order = orders.make_workdir(folder, data, taught, orders.spec(student=PLAIN, train=length, **fields))
    return run(order, folder)


def task(kind: type, labelled: int, **train: Any) -> Any:
    data = DatasetMeta(
        task="tabular_classification",
        counts={"train": 6},
        labelled={"train": labelled},
        input_shape=(3,),
        num_outputs=4,
        target=Target(name="t", mean=0, std=2),
    )
    return kind(data, Train(**train))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_label_loss_is_the_mean_over_samples_with_labels(smoothing: float) -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.tensor([2, -1, 0, -1, -1, 3])
    loss = task(TabularClassification, 3, label_smoothing=smoothing).hard(logits, Batch(y, torch.arange(6)))
    loss.backward()
    z, known = logits.detach().double().numpy(), y.numpy() >= 0
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    target = (1 - smoothing) * np.eye(4)[y.clamp_min(0)] + smoothing / 4
    value = -(target * log_p).sum(1)[known].mean()
    gradient = np.where(known[:, None], (np.exp(log_p) - target) / 3, 0)
    assert loss.item() == pytest.approx(value, rel=1e-6)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), gradient, atol=1e-7)


def test_a_batch_without_labels_has_no_label_loss() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    made = task(TabularClassification, 3)
    loss = made.hard(logits, Batch(torch.tensor([-1, -1, -1]), torch.arange(3)))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
    assert made.running(logits, torch.tensor([-1, -1, -1])).item() == 0


def test_the_running_accuracy_is_that_of_samples_with_labels() -> None:
    logits = torch.eye(4)[:3]
    assert task(TabularClassification, 3).running(logits, torch.tensor([0, 2, -1])).item() == 0.5


def test_targets_that_are_no_number_leave_no_trace() -> None:
    value = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    made = task(TabularRegression, 3)
    loss = made.hard(value, Batch(torch.tensor([0.0, torch.nan, 1.0]), torch.arange(3)))
    loss.backward()
    assert loss.item() == pytest.approx((1 + 4) / 2)
    assert value.grad is not None
    np.testing.assert_allclose(value.grad[:, 0].numpy(), [1, 0, 2])
    nothing = made.hard(value, Batch(torch.full((3,), torch.nan), torch.arange(3)))
    assert nothing.item() == 0


def test_a_few_labels_and_a_teacher_make_a_student(tmp_path: Path, row_teacher: Taught) -> None:
    data = without(orders.digit_rows(), {"train": 100, "val": 50})
    trained = train(tmp_path, data, row_teacher)
    report = trained.report
    split = trained.parts.splits["val"]
    logits = trained.parts.student.with_weights(trained.weights).module.eval()(split.take(torch.arange(150)).raw)
    labelled = split.y >= 0
    assert int(labelled.sum()) == 50
    right = (logits.argmax(1) == split.y)[labelled].double().mean()
    assert report["val"]["student"]["accuracy"] == pytest.approx(float(right))
    assert report["test"]["student"]["accuracy"] > report["test"]["control"]["accuracy"]
    assert sum(value is not None for value in report["test"]["accuracy_by_class"].values()) == 10


def test_no_labels_at_all(tmp_path: Path, row_teacher: Taught) -> None:
    data = without(orders.digit_rows(), dict.fromkeys(SPLITS, 0))
    trained = train(tmp_path, data, row_teacher)
    report = trained.report
    assert report["test"]["teacher"] is None
    assert report["test"]["control"] is None
    assert report["no_control"].startswith("no training row has a label")
    student = report["test"]["student"]
    assert student.keys() == {"agreement", "divergence"}
    assert report["test"]["agreement"] == student["agreement"] > 0.8
    assert next(notice["code"] for notice in orders.events(tmp_path, "notice")) == "no_validation_labels"
    epochs = [line["val"] for line in orders.events(tmp_path, "metrics")]
    assert len(epochs) == 6, "and no control"
    best = max(range(6), key=lambda at: (epochs[at]["agreement"], -epochs[at]["divergence"]))
    assert report["best_epoch"] == best + 1, "the epochs are ranked by agreement"
    assert all(line["train"]["hard"] == 0 for line in orders.events(tmp_path, "metrics"))


def test_likeness_is_that_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    s, t = torch.randn(9, 4, generator=generator), torch.randn(9, 4, generator=generator)
    found = task(TabularClassification, 0).likeness(s, t)
    p_s, p_t = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (s.double().numpy(), t.double().numpy()))
    assert found["divergence"] == pytest.approx((p_t * np.log(p_t / p_s)).sum(1).mean())
    assert found["agreement"] == pytest.approx((p_s.argmax(1) == p_t.argmax(1)).mean())


def test_a_regression_without_labels(tmp_path: Path, ink_teacher: Taught) -> None:
    data = without(orders.ink(), dict.fromkeys(SPLITS, 0))
    loss = {"type": "value_mse"}
    optimizer = {"optimizer": {"type": "adam", "lr": 0.01}, "epochs": 12}
    report = train(tmp_path, data, ink_teacher, loss=loss, train=optimizer).report
    student = report["test"]["student"]
    assert student.keys() == {"rmse_to_teacher", "mae_to_teacher", "agreement"}
    assert student["agreement"] > 0.7
    assert report["test"]["control"] is None
    epochs = [line["val"]["rmse_to_teacher"] for line in orders.events(tmp_path, "metrics")]
    assert report["best_epoch"] == 1 + int(np.argmin(epochs))


@pytest.mark.parametrize("kind", ["dkd", "nkd", "wsld", "label_smoothing_teacher"])
def test_terms_that_read_labels_are_refused(tmp_path: Path, row_teacher: Taught, kind: str) -> None:
    data = without(orders.digit_rows(), {"train": 599})
    with pytest.raises(UserConfig, match="1 of 600 training rows have none") as caught:
        train(tmp_path, data, row_teacher, loss=[{"type": "kd"}, {"type": kind}])
    assert (caught.value.errors[0].pointer, caught.value.code) == ("/loss/1/type", "needs_labels")


def test_teachers_cannot_be_weighed_by_labels_that_are_missing(tmp_path: Path, row_teacher: Taught) -> None:
    data = without(orders.digit_rows(), {"train": 599})
    members = [{"type": "stored", "id": name} for name in ("tch_1", "tch_2")]
    teacher = {"type": "ensemble", "teachers": members, "combine": "cross_entropy"}
    spec = orders.spec(student=PLAIN, teacher=teacher)
    order = orders.make_workdir(tmp_path, data, {"tch_1": row_teacher, "tch_2": row_teacher}, spec)
    with pytest.raises(UserConfig) as caught:
        run(order, tmp_path)
    assert (caught.value.errors[0].pointer, caught.value.code) == ("/teacher/combine", "needs_labels")

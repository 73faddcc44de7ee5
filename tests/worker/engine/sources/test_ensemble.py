"""Several teachers at once: combined as by hand, one by one where a term names its own, each asked once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from core.errors import UserConfig, UserInput
from models.spec.job import JobSpec
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught, run
from tests.worker.engine.sources.conftest import STORED, Job, same, wired
from worker.engine import cache
from worker.engine.sources.ensemble import EnsembleTeacher, confident

Array = NDArray[np.float64]


def ensemble(**fields: Any) -> dict[str, Any]:
    return {"type": "ensemble", "teachers": STORED, **fields}


def by_hand(doubt_EN: Array) -> Array:
    """CA-MKD, equation 4: (1 - exp(d_k) / sum_j exp(d_j)) / (K - 1)."""
    e = np.exp(doubt_EN)
    return np.asarray((1 - e / e.sum(0)) / (len(doubt_EN) - 1))


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def test_shares_are_those_of_the_paper_and_add_up_to_1() -> None:
    doubt = torch.rand(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 6
    found = confident(doubt)
    np.testing.assert_allclose(found.numpy(), by_hand(doubt.numpy()), rtol=1e-12)
    np.testing.assert_allclose(found.sum(0).numpy(), np.ones(20))


def test_teachers_that_have_not_answered_have_no_share() -> None:
    doubt = torch.tensor([[0.5, 0.5, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    known = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    found = confident(doubt, known).numpy()
    first = by_hand(np.array([[0.5], [2.0]]))[:, 0]
    third = by_hand(np.array([[2.0], [1.0]]))[:, 0]
    expected = [[first[0], 1, 0, 0], [first[1], 0, third[0], 0], [0, 0, third[1], 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("combine", ["mean", "weights", "cross_entropy", "entropy"])
def test_the_combination_is_that_by_hand(job: Job, two: dict[str, Taught], tmp_path: Path, combine: str) -> None:
    weights = {"weights": [3.0, 1.0]} if combine == "weights" else {}
    order = job(teachers=two, teacher=ensemble(combine=combine, **weights))
    parts = wired(order, tmp_path / "work")
    rows = parts.splits["train"].take(torch.arange(50))
    teacher = parts.teacher
    assert isinstance(teacher, EnsembleTeacher)
    said = teacher(rows)
    z = np.stack([member(rows).logits.double().numpy() for member in teacher.members.values()])
    p = softmax(z)
    shares = {
        "mean": np.full((2, 50), 0.5),
        "weights": np.repeat([[0.75], [0.25]], 50, 1),
        "cross_entropy": by_hand(-np.log(p[:, np.arange(50), rows.y.numpy()])),
        "entropy": by_hand(-(p * np.log(p)).sum(2)),
    }[combine]
    np.testing.assert_allclose(said.logits.numpy(), (shares[:, :, None] * z).sum(0), rtol=1e-4, atol=1e-4)
    assert not said.logits.requires_grad
    assert said.weight is None
    assert said.members == {}, "no term names one"
    if combine == "cross_entropy":
        assert np.abs(shares - 0.5).max() > 0.1, "the case can tell it from a mean"


def test_figures_do_not_profit_from_the_labels(job: Job, two: dict[str, Taught], tmp_path: Path) -> None:
    parts = wired(job(teachers=two, teacher=ensemble(combine="cross_entropy")), tmp_path / "work")
    rows = parts.splits["val"].take(torch.arange(20))
    assert parts.teacher is not None
    exact = parts.teacher(rows, exact=True)
    mean = torch.stack([member.logits for member in exact.members.values()]).mean(0)
    torch.testing.assert_close(exact.logits, mean)


def test_terms_that_name_a_teacher_hear_that_one_alone(job: Job, two: dict[str, Taught], tmp_path: Path) -> None:
    terms = [{"type": "kd"}, {"type": "hint"}, {"type": "similarity"}]
    alone = run(job("alone", teachers={"tch_2": two["tch_2"]}, teacher="tch_2", loss=terms), tmp_path / "alone")
    named = [{**term, "teacher": "tch_2"} for term in terms]
    among = run(job("among", teachers=two, teacher=ensemble(), loss=named), tmp_path / "among")
    assert same(alone.weights, among.weights)
    other = [{**term, "teacher": "tch_1"} for term in terms]
    assert not same(alone.weights, run(job("o", teachers=two, teacher=ensemble(), loss=other), tmp_path / "o").weights)


def test_a_mixture_of_named_and_unnamed_terms_trains_and_reports_each_teacher(
    job: Job, two: dict[str, Taught], tmp_path: Path
) -> None:
    loss = [{"type": "kd"}, {"type": "hint", "teacher": "tch_1"}, {"type": "distance", "teacher": "tch_2"}]
    trained = run(job(teachers=two, teacher=ensemble(), loss=loss, train={"epochs": 4}), tmp_path / "work")
    for name, staged in trained.attempt.order.teachers.items():
        assert trained.report["teachers"][name] == {"sha256": staged.sha256, "parameters": staged.meta.parameters}
    test = trained.report["test"]
    assert test["teachers"].keys() == {"tch_1", "tch_2"}
    assert test["teachers"]["tch_1"] != test["teachers"]["tch_2"]
    better = max(figures["accuracy"] for figures in test["teachers"].values())
    assert test["teacher"]["accuracy"] > better - 0.1
    assert 0 < test["agreement"] <= 1


def test_a_weak_teacher_is_named(job: Job, two: dict[str, Taught], tmp_path: Path) -> None:
    weights, record = two["tch_2"]
    constant = {key: torch.zeros_like(x) if key.startswith("head") else x for key, x in weights.items()}
    teachers = {**two, "tch_2": (constant, record)}
    with pytest.raises(UserInput, match="the teacher tch_2 has") as caught:
        run(job(teachers=teachers, teacher=ensemble()), tmp_path / "work")
    assert caught.value.code == "weak_teacher"
    assert caught.value.errors[0].pointer == "/teacher/teachers/1"


def test_a_teacher_of_other_classes_may_be_one_of_them_for_terms_that_name_it(
    job: Job, rows: Data, two: dict[str, Taught], tmp_path: Path
) -> None:
    tensors, meta = rows
    parity = {**tensors, "y": tensors["y"] % 2}
    halves = meta.model_copy(update={"num_outputs": 2, "classes": ["even", "odd"]})
    teachers = {"tch_1": two["tch_1"], "tch_2": orders.train_teacher(parity, halves, {"type": "mlp", "hidden": [8]})}
    loss = [{"type": "kd", "teacher": "tch_1"}, {"type": "similarity", "teacher": "tch_2"}]
    report = run(job("fits", teachers=teachers, teacher=ensemble(), loss=loss), tmp_path / "fits").report
    assert report["test"]["teachers"]["tch_2"] is None
    assert report["test"]["teacher"] == report["test"]["teachers"]["tch_1"], "the others are not combined with it"
    with pytest.raises(UserConfig) as caught:
        wired(job("not", teachers=teachers, teacher=ensemble(), loss={"type": "kd"}), tmp_path / "not")
    assert caught.value.errors[0].pointer == "/teacher/teachers/1"
    order = job("no", teachers=teachers, teacher=ensemble(), loss={"type": "kd", "teacher": "tch_2"})
    with pytest.raises(UserConfig) as caught:
        wired(order, tmp_path / "no")
    assert caught.value.errors[0].pointer == "/teacher/teachers/1"


def test_one_teacher_twice_is_no_ensemble() -> None:
    with pytest.raises(ValidationError, match="listed once"):
        JobSpec.model_validate(orders.spec(teacher=ensemble(teachers=[STORED[0], STORED[0]])))


@pytest.mark.parametrize("combine", ["cross_entropy", "entropy"])
def test_values_of_a_regression_have_no_entropy(tmp_path: Path, ink_teacher: Taught, combine: str) -> None:
    spec = orders.spec(teacher=ensemble(combine=combine), loss={"type": "value_mse"}, student={"type": "mlp"})
    order = orders.make_workdir(tmp_path, orders.ink(), {"tch_1": ink_teacher, "tch_2": ink_teacher}, spec)
    with pytest.raises(UserConfig) as caught:
        wired(order, tmp_path)
    assert caught.value.errors[0].pointer == "/teacher/combine"


def test_teachers_of_a_regression_may_predict_in_units_of_their_own(tmp_path: Path, ink_teacher: Taught) -> None:
    tensors, meta = orders.ink()
    weights, record = ink_teacher
    assert meta.target is not None
    scale, shift = meta.target.std, meta.target.mean
    own = {"head.weight": weights["head.weight"] * scale, "head.bias": weights["head.bias"] * scale + shift}
    teachers = {"tch_1": ink_teacher, "tch_2": ({**weights, **own}, record)}
    train = {"epochs": 1, "control": False}
    spec = orders.spec(teacher=ensemble(), loss={"type": "value_mse"}, student={"type": "mlp"}, train=train)
    report = run(orders.make_workdir(tmp_path, (tensors, meta), teachers, spec), tmp_path).report
    for split in ("val", "test"):
        figures = report[split]["teachers"]
        assert report[split]["teacher"]["rmse"] == pytest.approx(figures["tch_1"]["rmse"], rel=1e-3)
        assert figures["tch_2"]["rmse"] == pytest.approx(figures["tch_1"]["rmse"], rel=1e-3)


def test_each_teacher_is_asked_once_and_all_that_is_kept_counts(
    job: Job, two: dict[str, Taught], tmp_path: Path
) -> None:
    loss = [{"type": "kd"}, {"type": "hint", "teacher": "tch_1"}, {"type": "kd", "teacher": "tch_2"}]
    parts = wired(job(teachers=two, teacher=ensemble(combine="cross_entropy"), loss=loss), tmp_path / "work")
    assert isinstance(parts.teacher, EnsembleTeacher)
    asked = dict.fromkeys(two, 0)

    class Counting:
        def __init__(self, name: str) -> None:
            self.name, self.inner = name, members[name]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def __call__(self, rows: Any, *, exact: bool = False) -> Any:
            asked[self.name] += len(rows.ids)
            return self.inner(rows, exact=exact)

    members = parts.teacher.members
    parts.teacher.members = {name: Counting(name) for name in members}
    split = parts.splits["train"]
    kept = cache.Filling(parts.teacher, split, cache.Way(128, torch.device("cpu")), lambda: None).kept()
    assert asked == {name: len(split) for name in two}
    at = torch.tensor([5, 250, 17])
    live, looked_up = parts.teacher(split.take(at)), kept.take(at)
    torch.testing.assert_close(looked_up.logits, live.logits, rtol=1e-4, atol=1e-4)
    for name in two:
        torch.testing.assert_close(looked_up.members[name].logits, live.members[name].logits, rtol=1e-4, atol=1e-4)
    feature = live.members["tch_1"].features["hidden.0"]
    torch.testing.assert_close(looked_up.members["tch_1"].features["hidden.0"], feature, rtol=1e-4, atol=1e-4)
    row = 4 * (3 * 10 + 64)
    assert cache.fits(live, cache.MAX_BYTES // row)
    assert not cache.fits(live, cache.MAX_BYTES // row + 1)

"""A teacher that knows nothing is found before training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserInput
from models.canonical import TeacherMeta
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught, run


def with_record(taught: Taught, **fields: Any) -> Taught:
    record = taught[1].model_dump() | fields
    return taught[0], TeacherMeta.model_validate(record)


def check(folder: Path, data: Data, taught: Taught, **fields: Any) -> dict[str, Any]:
    order = orders.make_workdir(folder, data, taught, orders.spec(train={"epochs": 1, "control": False}, **fields))
    return run(order, folder).report


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": {"mean": [200.0], "std": [1.0]}},  # normalised as if pixels were 0..255
        {"input": {"range": [0.0, 255.0], "mean": [0.3], "std": [0.37]}},
    ],
    ids=["mean", "range"],
)
def test_a_good_teacher_that_sees_its_input_wrongly_is_found(
    tmp_path: Path, digits: Data, image_teacher: Taught, wrong: dict[str, Any]
) -> None:
    with pytest.raises(UserInput, match="Likely causes: the normalisation") as caught:
        check(tmp_path, digits, with_record(image_teacher, **wrong, accuracy=0.95))
    assert caught.value.code == "weak_teacher"
    assert caught.value.extra["accuracy"] < 0.85


def test_a_teacher_with_its_classes_in_another_order_is_found(
    tmp_path: Path, digits: Data, image_teacher: Taught
) -> None:
    weights = dict(image_teacher[0])
    for name in ("fc.weight", "fc.bias"):
        weights[name] = weights[name].roll(1, 0)
    with pytest.raises(UserInput, match="the order of the classes"):
        check(tmp_path, digits, (weights, image_teacher[1]))


def test_far_under_what_was_declared_is_weak(tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    noisy = {k: v + 0.35 * torch.randn_like(v) if k == "fc.weight" else v for k, v in image_teacher[0].items()}
    torch.manual_seed(0)
    declared = with_record((noisy, image_teacher[1]), accuracy=1.0)
    blurred = {**noisy, "bn1.bias": noisy["bn1.bias"] + 1.5}
    with pytest.raises(UserInput, match=r"where 100\.0% was declared"):
        check(tmp_path / "a", digits, (blurred, declared[1]))


def test_a_little_under_what_was_declared_is_not(tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    report = check(tmp_path, digits, with_record(image_teacher, accuracy=0.99))
    assert report["val"]["teacher"]["accuracy"] > 0.89


def test_a_weak_teacher_may_be_allowed_and_is_warned_of(tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    constant = {k: torch.zeros_like(v) if k.startswith("fc") else v for k, v in image_teacher[0].items()}
    report = check(tmp_path, digits, (constant, image_teacher[1]), allow_weak_teacher=True)
    assert [warning["code"] for warning in report["warnings"]] == ["weak_teacher"]
    assert orders.events(tmp_path, "warning")[0]["code"] == "weak_teacher"


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    broken = {**image_teacher[0], "fc.bias": torch.full((10,), torch.nan)}
    with pytest.raises(UserInput, match="not finite"):
        check(tmp_path, digits, (broken, image_teacher[1]))


def test_a_teacher_of_other_classes_may_teach_by_relations_and_is_not_scored(tmp_path: Path, digits: Data) -> None:
    tensors, meta = digits
    parity = {**tensors, "y": tensors["y"] % 2}
    two = meta.model_copy(update={"num_outputs": 2, "classes": ["even", "odd"]})
    taught = orders.train_teacher(parity, two, {"type": "resnet", "depth": 8}, epochs=1)
    report = check(tmp_path, digits, taught, loss=[{"type": "similarity"}, {"type": "hint"}])
    assert report["test"]["teacher"] is None
    assert report["test"]["agreement"] is None
    assert report["test"]["student"]["accuracy"] > 0.1
    assert orders.events(tmp_path, "notice")[0]["code"] == "teacher_not_scored"

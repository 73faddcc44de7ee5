"""A refused body is answered with pointers into the very body that was sent."""

from typing import Any

import pytest
from pydantic import ValidationError

from api.pointers import pointer_to, problems
from models.spec.job import JobSpec

SMALLEST: dict[str, Any] = {
    "teacher": "tch_1",
    "dataset": "dst_1",
    "student": {"type": "resnet", "depth": 20},
    "loss": {"type": "kd", "T": 4},
}


def faults(**changes: Any) -> dict[str, str]:
    """Message by pointer."""
    body = {**SMALLEST, **changes}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    return {problem.pointer: problem.message for problem in problems(caught.value.errors(), body, JobSpec)}


CONV = {"type": "conv"}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"loss": [{"type": "kd", "T": 0}]}, "/loss/0/T"),
        ({"loss": {"type": "kd", "T": 0}}, "/loss/T"),
        ({"loss": {"type": "kd", "temperature": 0}}, "/loss/temperature"),
        ({"loss": [{"type": "kd"}, {"type": "hint", "taps": [{"student": "a"}]}]}, "/loss/1/taps/0/teacher"),
        ({"loss": []}, "/loss"),
        ({"loss": "kd"}, "/loss"),
        ({"teacher": "bad"}, "/teacher"),
        ({"teacher": {"type": "stored", "id": "bad"}}, "/teacher/id"),
        ({"student": {"type": "layers", "layers": [CONV]}}, "/student/layers/0/out"),
        ({"student": {"type": "timm", "name": "x", "kwargs": {"a/b~c": {}}}}, "/student/kwargs/a~1b~0c"),
        ({"student": {"type": "resnet", "depth": 21}}, "/student"),
        ({"train": {"augment": {"crop": -1}}}, "/train/augment/crop"),
        ({"train": {"augment": "strong"}}, "/train/augment"),
        ({"train": {"optimizer": {"type": "adam", "betas": [0.9]}}}, "/train/optimizer/betas/1"),
        ({"train": 3}, "/train"),
    ],
)
def test_a_fault_is_at_the_field_as_the_caller_wrote_it(changes: dict[str, Any], pointer: str) -> None:
    assert list(faults(**changes)) == [pointer]


def test_an_unknown_loss_lists_the_menu_and_the_nearest() -> None:
    (message,) = faults(loss=[{"type": "similarty"}]).values()
    assert "did you mean `similarity`?" in message
    for name in ("kd", "hint", "distance", "logits_mse", "soft_cross_entropy"):
        assert name in message
    assert list(faults(loss=[{"type": "similarty"}])) == ["/loss/0/type"]


def test_a_missing_type_lists_the_menu_too() -> None:
    found = faults(student={"depth": 20})
    assert list(found) == ["/student/type"]
    assert "wide_resnet" in found["/student/type"]
    assert "kd" not in found["/student/type"]


def test_an_unknown_field_lists_the_fields_of_that_choice() -> None:
    assert "the fields are: weight, teacher, type, T" in faults(loss={"type": "kd", "alpha": 0.9})["/loss/alpha"]
    inner = faults(student={"type": "layers", "layers": [{"type": "conv", "out": 8, "kernl": 3}]})
    assert "did you mean `kernel`?" in inner["/student/layers/0/kernl"]


def test_the_branches_of_a_union_become_one_sentence() -> None:
    (message,) = faults(student={"type": "timm", "name": "x", "kwargs": {"a": {}}}).values()
    assert message.count("Input should be") == 1
    assert message.endswith("a valid string or a valid list")


def test_several_faults_are_all_told() -> None:
    assert set(faults(teacher="bad", train={"epochs": 0, "batch_size": 0})) == {
        "/teacher",
        "/train/epochs",
        "/train/batch_size",
    }


def test_a_path_that_a_validator_made_ends_where_the_body_does() -> None:
    assert pointer_to(("loss", 0, "type"), {"loss": {"type": "kd"}}) == "/loss/type"
    assert pointer_to(("loss", 0, "type"), {"loss": [{"type": "kd"}]}) == "/loss/0/type"
    assert pointer_to(("train", "batch_size"), {}) == ""

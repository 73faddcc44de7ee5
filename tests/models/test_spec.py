"""The job spec: what it fills in, what it refuses, and how the refusal reads."""

from typing import Any

import pytest
from pydantic import ValidationError

from models.spec.job import JobSpec

SMALLEST: dict[str, Any] = {
    "teacher": "tch_1",
    "dataset": "dst_1",
    "student": {"type": "resnet", "depth": 20},
    "loss": {"type": "kd", "T": 4},
}


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({**SMALLEST, **changes})


def refusal(**changes: Any) -> tuple[tuple[int | str, ...], str]:
    """Where and why a spec is refused; exactly one fault."""
    with pytest.raises(ValidationError) as caught:
        spec(**changes)
    faults = caught.value.errors()
    assert len(faults) == 1
    return faults[0]["loc"], faults[0]["msg"]


def test_the_smallest_job_resolves_to_one_with_nothing_left_open() -> None:
    resolved = spec().resolved()
    assert resolved.hard == 0.1
    assert resolved.teacher.id == "tch_1"
    assert [term.type for term in resolved.loss] == ["kd"]
    assert JobSpec.model_validate(resolved.model_dump(mode="json")) == resolved


def test_a_feature_or_relation_loss_alone_keeps_the_label_loss_whole() -> None:
    assert spec(loss={"type": "hint"}).resolved().hard == 1.0
    assert spec(loss=[{"type": "similarity"}, {"type": "kd"}]).resolved().hard == 0.1
    assert spec(hard=0).resolved().hard == 0


def test_temperature_has_two_spellings_of_one_field() -> None:
    assert spec(loss={"type": "kd", "temperature": 2}) == spec(loss={"type": "kd", "T": 2})


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), 1001, "hot"])
def test_a_temperature_that_cannot_work_is_refused_at_its_field(temperature: object) -> None:
    where, _ = refusal(loss={"type": "kd", "T": temperature})
    assert where[:2] == ("loss", 0)
    assert where[-1] in {"T", "temperature"}


def test_alpha_is_no_field() -> None:
    where, why = refusal(loss={"type": "kd", "alpha": 0.9})
    assert where[-1] == "alpha"
    assert "not permitted" in why


def test_an_unknown_loss_is_answered_with_the_menu() -> None:
    where, why = refusal(loss={"type": "dk"})
    assert where == ("loss", 0)
    assert "'kd'" in why
    assert "'similarity'" in why


@pytest.mark.parametrize(
    ("student", "nearest"),
    [({"type": "resnet", "depth": 21}, 20), ({"type": "wide_resnet", "depth": 39}, 40)],
)
def test_a_depth_off_the_ladder_names_the_nearest(student: dict[str, Any], nearest: int) -> None:
    where, why = refusal(student=student)
    assert where[0] == "student"
    assert f"nearest is {nearest}" in why


@pytest.mark.parametrize(
    "train",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"optimizer": {"type": "sgd", "lr": 0}},
        {"optimizer": {"type": "sgd", "momentum": 0}},
        {"schedule": {"type": "step", "milestones": [0.5, 0.5]}},
        {"schedule": {"type": "step", "milestones": [0.9, 0.5]}},
        {"ema": 1},
        {"label_smoothing": 1},
        {"seed": -1},
        {"augment": "strong"},
    ],
)
def test_training_settings_that_cannot_work_are_refused(train: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(train=train)
    assert all(fault["loc"][0] == "train" for fault in caught.value.errors())


def test_timm_arguments_that_the_service_sets_are_refused() -> None:
    _, why = refusal(student={"type": "timm", "name": "resnet18", "kwargs": {"pretrained": True}})
    assert "pretrained" in why


def test_label_keys_are_short_words() -> None:
    assert spec(labels={"team": "vision"}).labels == {"team": "vision"}
    assert refusal(labels={"a b": "x"})[0] == ("labels",)

"""The job spec: what it fills in, what it refuses, and how the refusal reads."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

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
    assert resolved.teacher.teacher_ids() == ["tch_1"]
    assert [term.type for term in resolved.loss] == ["kd"]
    assert JobSpec.model_validate(resolved.model_dump(mode="json")) == resolved


def test_a_feature_or_relation_loss_alone_keeps_the_label_loss_whole() -> None:
    assert spec(loss={"type": "hint"}).resolved().hard == 1.0
    assert spec(loss=[{"type": "similarity"}, {"type": "kd"}]).resolved().hard == 0.1
    assert spec(hard=0).resolved().hard == 0


def test_beside_a_teacher_that_learns_itself_the_label_loss_is_whole() -> None:
    for teacher in (PEERS, {"type": "ema"}, {"type": "snapshot"}, {"type": "branches"}):
        assert spec(teacher=teacher).resolved().hard == 1.0
    assert spec(teacher=PEERS, hard=0.2).resolved().hard == 0.2
    assert spec(teacher={"type": "born_again"}).resolved().hard == 0.1


def test_temperature_has_two_spellings_of_one_field() -> None:
    assert spec(loss={"type": "kd", "temperature": 2}) == spec(loss={"type": "kd", "T": 2})


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), 1001, "hot"])
def test_a_temperature_that_cannot_work_is_refused_at_its_field(temperature: object) -> None:
    where, _ = refusal(loss={"type": "kd", "T": temperature})
    assert where[:2] == ("loss", 0)
    assert where[-1] in {"T", "temperature"}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"train": {"epochs": True}}, ("train", "epochs")),
        ({"train": {"epochs": "4"}}, ("train", "epochs")),
        ({"train": {"optimizer": {"type": "adam", "betas": [False, 0.5]}}}, ("train", "optimizer", "adam", "betas", 0)),
        ({"hard": True}, ("hard",)),
        ({"hard": "0.1"}, ("hard",)),
        ({"student": {"type": "mlp", "hidden": [True]}}, ("student", "mlp", "hidden", 0)),
        ({"allow_weak_teacher": 1}, ("allow_weak_teacher",)),
    ],
)
def test_only_numbers_are_numbers_and_only_truth_values_are_that(
    changes: dict[str, Any], where: tuple[int | str, ...]
) -> None:
    assert refusal(**changes)[0] == where


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert spec(train={"epochs": 4.0}).train.epochs == 4


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


ENSEMBLE = {"type": "ensemble", "teachers": ["tch_1", {"type": "outputs", "dataset": "dst_9"}]}
PEERS = {"type": "peers", "students": [{"type": "resnet", "depth": 8}]}


@pytest.mark.parametrize(
    ("changes", "pointer", "says"),
    [
        ({"loss": {"type": "kd", "teacher": "tch_1"}}, ("loss", 0), "leave it out"),
        ({"teacher": ENSEMBLE, "loss": {"type": "kd", "teacher": "tch_2"}}, ("loss", 0), "tch_1, dst_9"),
        ({"teacher": ENSEMBLE, "loss": [{"type": "kd"}, {"type": "hint"}]}, ("loss", 1), "tch_1 or dst_9"),
        ({"teacher": ENSEMBLE, "loss": {"type": "similarity", "teacher": "dst_9"}}, ("loss", 0), "given outputs"),
        ({"teacher": {"type": "outputs", "dataset": "dst_9"}, "loss": {"type": "hint"}}, ("loss", 0), "given outputs"),
        ({"teacher": {"type": "branches"}, "loss": {"type": "similarity"}}, ("loss", 0), "an exit gives outputs alone"),
        ({"teacher": {"type": "branches"}, "student": {"type": "mlp", "hidden": [8]}}, ("student",), "two or more"),
        ({"teacher": {"type": "snapshot", "every": 30}}, ("train",), "smaller than `train.epochs`"),
        ({"teacher": {"type": "snapshot"}, "train": {"epochs": 5}}, ("train",), "after epoch 5 of 5"),
        ({"teacher": {"type": "born_again", "generations": 1}}, ("teacher", "born_again"), "taught by nobody"),
        ({"teacher": PEERS, "hard": 0}, ("hard",), "nobody in this job"),
    ],
)
def test_regimes_that_make_no_sense_are_refused_at_their_field(
    changes: dict[str, Any], pointer: tuple[int | str, ...], says: str
) -> None:
    where, why = refusal(**changes)
    assert where == pointer
    assert says in why


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": ENSEMBLE, "loss": [{"type": "kd"}, {"type": "hint", "teacher": "tch_1"}]},
        {"teacher": {"type": "branches"}},
        {"teacher": {"type": "snapshot", "every": 29}},
        {"teacher": {"type": "born_again", "generations": 1, "teacher": "tch_1"}},
        {"teacher": {"type": "born_again"}, "hard": 0},
        {"teacher": PEERS, "loss": {"type": "hint"}},
    ],
)
def test_regimes_that_make_sense_are_taken(changes: dict[str, Any]) -> None:
    resolved = spec(**changes).resolved()
    assert JobSpec.model_validate(resolved.model_dump(mode="json")) == resolved


SMALL = {"student": {"type": "resnet", "depth": 14}}


@pytest.mark.parametrize("kind", ["born_again", "snapshot", "ema", "branches", "peers"])
def test_assistants_need_a_teacher_that_was_handed_in(kind: str) -> None:
    where, why = refusal(teacher=PEERS if kind == "peers" else {"type": kind}, assistants=[SMALL])
    assert where == ("assistants",)
    assert "handed in" in why


def test_with_assistants_each_loss_must_be_able_to_hear_who_is_before_it() -> None:
    features: dict[str, Any] = {"type": "hint"}
    named = {**features, "teacher": "tch_1"}
    where, why = refusal(teacher=ENSEMBLE, assistants=[SMALL], loss=features)
    assert where == ("loss", 0)
    assert "first assistant" in why
    assert refusal(teacher=ENSEMBLE, assistants=[SMALL], loss=named)[0] == ("loss", 0), "the student has one teacher"
    where, why = refusal(teacher=ENSEMBLE, assistants=[{**SMALL, "loss": features}])
    assert where == ("assistants",)
    assert "loss 0 of assistant 1" in why
    assert spec(teacher=ENSEMBLE, assistants=[{**SMALL, "loss": named}], loss=features)


def test_what_an_assistant_leaves_out_is_the_jobs() -> None:
    assistants = [SMALL, {**SMALL, "loss": {"type": "hint"}}, {**SMALL, "hard": 0.7, "train": {"epochs": 3}}]
    resolved = spec(assistants=assistants, hard=0.4, train={"epochs": 9}).resolved()
    first, second, third = resolved.assistants
    assert (first.loss, first.hard, first.train) == (resolved.loss, 0.4, resolved.train)
    assert second.hard == 1.0, "what goes with a feature loss"
    assert third.train is not None
    assert (third.hard, third.train.epochs) == (0.7, 3)
    assert JobSpec.model_validate(resolved.model_dump(mode="json")) == resolved


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loss": [{"type": "kd"}, {"type": "dkd"}, {"type": "nkd"}]}, "`dkd`, `nkd` reads one"),
        ({"loss": {"type": "label_smoothing_teacher"}}, "`label_smoothing_teacher` reads one"),
        ({"teacher": {"type": "outputs", "dataset": "dst_2"}}, "say nothing of mixtures"),
        (
            {"teacher": {"type": "ensemble", "teachers": ["tch_1", {"type": "outputs", "dataset": "dst_2"}]}},
            "say nothing of mixtures",
        ),
        (
            {"teacher": {"type": "ensemble", "teachers": ["tch_1", "tch_2"], "combine": "cross_entropy"}},
            "weighed by their cross-entropy",
        ),
    ],
)
def test_mixup_is_refused_where_someone_needs_single_samples(changes: dict[str, Any], reason: str) -> None:
    where, why = refusal(train={"mixup": 0.2}, **changes)
    assert where == ("train",)
    assert reason in why
    assert spec(**changes).train.mixup is None


def test_mixup_goes_with_what_is_asked_of_mixtures() -> None:
    ensemble = {"type": "ensemble", "teachers": ["tch_1", "tch_2"], "combine": "entropy"}
    for changes in (
        {},
        {"teacher": ensemble},
        {"teacher": {"type": "ema"}},
        {"loss": [{"type": "rkd"}, {"type": "hint"}]},
    ):
        assert spec(train={"mixup": 0.2}, **changes).train.mixup == 0.2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train": {"mixup": 0.2}}, "no sample is seen twice"),
        ({"teacher": {"type": "outputs", "dataset": "dst_2"}}, "are of the samples as they are"),
        (
            {"teacher": {"type": "ensemble", "teachers": ["tch_1", {"type": "outputs", "dataset": "dst_2"}]}},
            "are of the samples as they are",
        ),
        ({"teacher": {"type": "ema"}}, "learns with the student"),
    ],
)
def test_fixed_views_are_refused_where_nothing_can_be_kept(changes: dict[str, Any], reason: str) -> None:
    own = changes.pop("train", {})
    where, why = refusal(train={"teacher_cache": {"views": 2}, **own}, **changes)
    assert where == ("train",)
    assert reason in why


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train": {"mixup": 0.2}}, "no sample is seen twice"),
        ({"train": {"augment": {"flip": True}}}, "name `views` as well"),
        ({"teacher": {"type": "outputs", "dataset": "dst_2"}}, "are of the samples as they are"),
        ({"teacher": {"type": "ensemble", "teachers": ["tch_1", "tch_2"]}}, "cannot be combined"),
        ({"teacher": {"type": "stored", "id": "tch_1", "classes": "by_name"}}, "a class map picks some"),
        ({"teacher": {"type": "ema"}}, "learns with the student"),
        ({"loss": {"type": "kd", "standardize": True}}, "`kd` with `standardize` reads every single one"),
        ({"loss": {"type": "forward_kl", "top_k": 9}}, "`forward_kl` reads the 9 largest by its own `top_k`"),
        ({"loss": [{"type": "kd"}, {"type": "dkd"}]}, "`dkd` reads every single one"),
        *(({"loss": {"type": name}}, f"`{name}` reads") for name in ("dist", "logits_mse", "wttm", "mlkd", "ranking")),
    ],
)
def test_a_cut_to_the_largest_is_refused_where_all_are_needed(changes: dict[str, Any], reason: str) -> None:
    own = changes.pop("train", {})
    where, why = refusal(train={"teacher_cache": {"top_k": 8}, **own}, **changes)
    assert where == ("train",)
    assert reason in why


def test_a_cut_goes_with_distributions_and_with_what_reads_no_outputs() -> None:
    for loss in (
        "kd",
        "soft_cross_entropy",
        "hard_kd",
        "ttm",
        "reverse_kl",
        "jsd",
        "skew_kl",
        "tvd",
        "uld",
        "hint",
        "rkd",
    ):
        assert spec(loss={"type": loss}, train={"teacher_cache": {"top_k": 8}}).train.top_k == 8
    assert spec(loss={"type": "ranking", "top_k": 8}, train={"teacher_cache": {"top_k": 8}}).train.top_k == 8
    both = spec(train={"teacher_cache": {"views": 2, "top_k": 8}, "augment": {"flip": True}}).train
    assert (both.views, both.top_k) == (2, 8)
    assert spec(teacher={"type": "born_again"}, train={"teacher_cache": {"top_k": 8}}).train.views is None
    own = {"student": {"type": "resnet", "depth": 14}, "loss": {"type": "dist"}}
    assert "assistant 1: " in refusal(assistants=[own], train={"teacher_cache": {"top_k": 8}})[1]


def test_what_becomes_of_a_teachers_outputs_is_one_of_four() -> None:
    assert spec().train.teacher_cache == "auto"
    assert spec(train={"teacher_cache": "off"}).train.teacher_cache == "off"
    assert spec().train.top_k is None
    for wrong in ({"views": 0}, {"views": 1001}, {"top_k": 0}, {"views": 2, "top_k": 0}, {"top_k": 1.5}, {}, "on"):
        with pytest.raises(ValidationError):
            spec(train={"teacher_cache": wrong})


def test_an_assistant_mixes_for_itself() -> None:
    given = {"type": "outputs", "dataset": "dst_2"}
    assistant = {"student": {"type": "resnet", "depth": 14}}
    plain = {**assistant, "train": {"epochs": 3}}
    assert spec(teacher=given, assistants=[plain], train={"mixup": 0.2}).train.mixup == 0.2
    where, why = refusal(teacher=given, assistants=[assistant], train={"mixup": 0.2})
    assert where == ("train",)
    where, why = refusal(assistants=[{**plain, "loss": {"type": "dkd"}, "train": {"mixup": 1}}])
    assert "assistant 1" in why


def test_a_number_is_checked_once_wherever_its_model_is_used() -> None:
    def nested(node: Any) -> int:
        """How many functions lie in each other."""
        below = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
        own = isinstance(node, dict) and node.get("type") == "function-before"
        return own + max(map(nested, below), default=0)

    assert nested(TypeAdapter(list[JobSpec]).core_schema) == 1

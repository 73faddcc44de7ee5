"""What does not fit is found before anything runs, at the field that must change."""

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from api import fit
from api.fitting.fault import Fault
from api.fitting.rows import Rows
from models.canonical import DatasetMeta
from models.spec.job import JobSpec
from models.status import CheckStatus
from models.tables import Dataset, Teacher

CLASSES = ["cat", "dog", "fox"]
IMAGES = {
    "task": "image_classification",
    "counts": {"train": 100, "val": 10, "test": 10},
    "input_shape": [3, 16, 16],
    "num_outputs": 3,
    "classes": CLASSES,
}
TABLE = {
    "task": "tabular_classification",
    "counts": {"train": 100, "val": 10, "test": 10},
    "input_shape": [12],
    "num_outputs": 3,
    "classes": CLASSES,
}
SOUNDS = {
    **IMAGES,
    "task": "audio_classification",
    "input_shape": [1, 40, 50],
    "spectrum": {"sample_rate": 8000, "samples": 4120, "window": 200, "hop": 80, "fft": 256, "mels": 40},
}
REGRESSION = {**TABLE, "task": "tabular_regression", "num_outputs": 1, "classes": []}
RESNET = {
    "architecture": {"type": "resnet", "depth": 20},
    "input_shape": [3, -1, -1],
    "num_outputs": 3,
    "parameters": 1000,
    "taps": [{"name": f"layer{n}", "shape": [16, 8, 8]} for n in (1, 2, 3)],
}
GRAPH = {
    "architecture": {"type": "onnx"},
    "input_shape": [3, 16, 16],
    "num_outputs": 3,
    "parameters": 1000,
    "graph_input": "x",
    "graph_output": "y",
    "graph_embedding": "flat",
}
MLP = {"architecture": {"type": "mlp"}, "input_shape": [12], "num_outputs": 3, "parameters": 1000}

KD = {"type": "kd"}

Row = TypeVar("Row", Teacher, Dataset)


def faults(
    loss: Any = KD,
    teacher: dict[str, Any] = RESNET,
    data: dict[str, Any] = IMAGES,
    student: dict[str, Any] | None = None,
    **more: Any,
) -> list[tuple[str, str, str]]:
    """(code, path, message) of each fault."""
    rows = Rows(ready(Dataset, "dst_1", data), {"tch_1": ready(Teacher, "tch_1", teacher)})
    return told(fit.faults(spec(loss, student or {"type": "resnet", "depth": 8}, **more), rows))


def ready(table: type[Row], row_id: str, meta: dict[str, Any]) -> Row:
    return table(id=row_id, status=CheckStatus.READY, report={}, meta=meta)


def told(found: Sequence[Fault]) -> list[tuple[str, str, str]]:
    return [(fault.code, "/".join(map(str, fault.loc)), fault.message) for fault in found]


def spec(loss: Any, student: dict[str, Any], **more: Any) -> JobSpec:
    return JobSpec.model_validate({"teacher": "tch_1", "dataset": "dst_1", "student": student, "loss": loss, **more})


def one(*args: Any, **kwargs: Any) -> tuple[str, str]:
    (found,) = faults(*args, **kwargs)
    return found[:2]


def test_what_fits_has_no_fault() -> None:
    assert faults() == []
    assert faults([KD, {"type": "similarity"}, {"type": "hint"}]) == []
    assert faults(teacher=GRAPH) == []
    assert faults(teacher=MLP, data=TABLE, student={"type": "mlp"}) == []
    assert faults({"type": "logits_mse"}, {**MLP, "num_outputs": 1}, REGRESSION, {"type": "mlp"}) == []


def test_a_response_loss_needs_the_same_number_of_classes() -> None:
    code, path, message = faults(teacher={**RESNET, "num_outputs": 5})[0]
    assert (code, path) == ("class_count_differs", "teacher")
    assert "5 outputs" in message
    assert "3 classes" in message


def test_feature_and_relation_losses_work_across_class_sets() -> None:
    assert faults([{"type": "similarity"}, {"type": "hint"}], {**RESNET, "num_outputs": 5}) == []
    assert faults({"type": "similarity"}, {**RESNET, "classes": ["a", "b", "c"]}) == []


def test_a_loss_that_says_nothing_of_two_classes_is_refused() -> None:
    two = {"num_outputs": 2, "classes": CLASSES[:2]}
    for loss in ({"type": "dkd"}, {"type": "nkd"}, {"type": "kd", "standardize": True}):
        assert one([KD, loss], {**RESNET, "num_outputs": 2}, {**IMAGES, **two}) == ("too_few_classes", "loss/1/type")
        assert faults([KD, loss]) == []


def test_a_loss_without_room_for_the_training_rows_is_refused() -> None:
    large = {**IMAGES, "counts": {"train": 10**6, "val": 10, "test": 10}}
    bank = {"type": "crd", "form": "bank", "dim": 512}
    assert one([KD, bank], data=large) == ("bank_too_large", "loss/1/dim")
    assert faults([KD, {**bank, "dim": 128}, {"type": "crd"}], data=large) == []


def test_classes_in_another_order_are_refused() -> None:
    code, path, message = faults(teacher={**RESNET, "classes": ["cat", "fox", "dog"]})[0]
    assert (code, path) == ("classes_differ", "teacher")
    assert "Output 1 is class `fox` for the teacher and `dog` in the data set" in message


@pytest.mark.parametrize(
    ("teacher", "data"),
    [
        ({**RESNET, "input_shape": [1, -1, -1]}, IMAGES),
        ({**GRAPH, "input_shape": [3, 32, 32]}, IMAGES),
        ({**GRAPH, "input_shape": [16, 16, 1], "input": {"layout": "NHWC"}}, IMAGES),
        ({**MLP, "input_shape": [13]}, TABLE),
        (RESNET, TABLE),
        (MLP, IMAGES),
    ],
)
def test_a_teacher_that_cannot_read_the_data(teacher: dict[str, Any], data: dict[str, Any]) -> None:
    assert one(teacher=teacher, data=data, student={"type": "mlp"}) == ("input_differs", "teacher")


@pytest.mark.parametrize(
    "teacher",
    [
        {**GRAPH, "input_shape": [32, 32, 3], "input": {"layout": "NHWC", "size": [32, 32]}},
        {**GRAPH, "input_shape": [3, -1, -1]},
        {**MLP, "input_shape": [3 * 16 * 16]},
    ],
)
def test_a_teacher_whose_input_is_made_to_fit(teacher: dict[str, Any]) -> None:
    assert faults(teacher=teacher) == []


def test_a_loss_must_be_defined_for_the_task() -> None:
    code, path, message = faults([{"type": "hint"}, KD], {**MLP, "num_outputs": 1, "taps": RESNET["taps"]}, REGRESSION,
                                 {"type": "mlp"})[0]  # fmt: skip
    assert (code, path) == ("loss_not_for_task", "loss/1/type")
    assert "tabular_regression" in message


def test_a_student_must_take_the_data() -> None:
    assert one(teacher=MLP, data=TABLE) == ("student_not_for_data", "student/type")


TEXTS: dict[str, Any] = {
    **IMAGES,
    "task": "text_classification",
    "input_shape": [500, 64],
    "mean": [],
    "std": [],
    "text": {"tokenizer": {"type": "words"}, "vocabulary": 500, "length": 64, "column": "text"},
}
BERT: dict[str, Any] = {**RESNET, "architecture": {"type": "bert"}, "input_shape": [500, -1]}
BAG = {"type": "bag"}


def test_texts_are_taught_by_a_teacher_of_the_same_vocabulary() -> None:
    assert faults(teacher=BERT, data=TEXTS, student=BAG) == []
    assert faults({"type": "hidden"}, BERT, TEXTS, {"type": "bert", "hidden": 64}) == []
    code, path, message = faults(teacher={**BERT, "input_shape": [501, -1]}, data=TEXTS, student=BAG)[0]
    assert (code, path) == ("input_differs", "teacher")
    assert "texts of vocabulary, tokens 501 x any and the data set gives 500 x 64 (text)" in message
    short = {**BERT, "architecture": {"type": "bert", "max_positions": 32}}
    code, path, message = faults(teacher=short, data=TEXTS, student=BAG)[0]
    assert (code, path) == ("input_differs", "teacher")
    assert "64 tokens need as many positions, this has 32" in message
    assert one(teacher=RESNET, data=TEXTS, student=BAG) == ("input_differs", "teacher")
    assert one(teacher=BERT, student={"type": "resnet", "depth": 8}) == ("input_differs", "teacher")


@pytest.mark.parametrize(
    ("student", "path"),
    [
        ({"type": "mlp"}, "student/type"),
        ({"type": "resnet", "depth": 8}, "student/type"),
        ({"type": "bert", "max_positions": 63}, "student/max_positions"),
    ],
)
def test_a_student_of_something_else_or_of_shorter_texts_is_refused(student: dict[str, Any], path: str) -> None:
    assert one(teacher=BERT, data=TEXTS, student=student) == ("student_not_for_data", path)


@pytest.mark.parametrize(
    ("train", "code", "path"),
    [
        ({"mixup": 0.2}, "mixup_does_not_fit", "train/mixup"),
        ({"augment": {"crop": 4}}, "augment_does_not_fit", "train/augment"),
        ({"augment": {"time_mask": 2}}, "augment_does_not_fit", "train/augment"),
    ],
)
def test_token_ids_are_not_mixed_and_not_cut(train: dict[str, Any], code: str, path: str) -> None:
    assert one(teacher=BERT, data=TEXTS, student=BAG, train=train) == (code, path)
    assert faults(teacher=BERT, data=TEXTS, student=BAG, train={"augment": "none"}) == []


@pytest.mark.parametrize(
    ("student", "teacher", "path"),
    [("layer3", "layer9", "loss/0/taps/0/teacher"), ("layer33", "layer3", "loss/0/taps/0/student")],
)
def test_a_point_that_is_not_there_lists_those_that_are(student: str, teacher: str, path: str) -> None:
    found = faults({"type": "hint", "taps": [{"student": student, "teacher": teacher}]})
    assert [fault[:2] for fault in found] == [("unknown_tap", path)]
    assert "layer1, layer2, layer3" in found[0][2]
    assert "did you mean `layer3`?" in found[0][2] or "did you mean `layer1`?" in found[0][2]


def test_a_point_inside_a_stage_is_one() -> None:
    assert faults({"type": "hint", "taps": [{"student": "layer3.0", "teacher": "layer2.1"}]}) == []
    graph = {**GRAPH, "taps": [{"name": "relu", "shape": [8, 4, 4]}]}
    taps = [{"student": "layer3", "teacher": "relu.1"}]
    assert [fault[0] for fault in faults({"type": "hint", "taps": taps}, graph)] == ["unknown_tap"]


def test_losses_that_read_what_the_teacher_does_not_offer() -> None:
    assert one({"type": "hint"}, {**RESNET, "taps": []}) == ("teacher_without_taps", "loss/0/type")
    assert one([KD, {"type": "distance"}], {**GRAPH, "graph_embedding": None}) == (
        "teacher_without_embedding",
        "loss/1/type",
    )


def test_a_batch_larger_than_the_data_is_refused_where_it_was_asked_for_and_cut_where_not() -> None:
    assert one(train={"batch_size": 101}) == ("batch_too_large", "train/batch_size")
    data = DatasetMeta.model_validate(IMAGES)
    assert fit.adapted(spec(KD, {"type": "mlp"}), data).train.batch_size == 100
    assert fit.adapted(spec(KD, {"type": "mlp"}, train={"batch_size": 7}), data).train.batch_size == 7


def test_answers_about_samples_that_change_cannot_be_cut() -> None:
    cut = {"teacher_cache": {"top_k": 3}}
    large = {**IMAGES, "input_shape": [3, 32, 32]}
    assert one(data=large, train=cut) == ("top_k_does_not_fit", "train/teacher_cache")
    assert not faults(data=large, train={**cut, "augment": "none"})
    assert not faults(data=large, train={"teacher_cache": {"top_k": 3, "views": 2}})
    assert not faults(train=cut), "`auto` leaves small images as they are"


@pytest.mark.parametrize(
    ("augment", "field", "said"),
    [
        ({"flip": True}, "flip", "`flip` is for images, not for spectrograms: leave it out; there are `time_shift`"),
        ({"crop": 2, "mel_mask": 4}, "crop", "for images"),
        ({"time_mask": 50}, "time_mask", "50 may leave nothing of 50"),
        ({"mel_mask": 40}, "mel_mask", "40 may leave nothing of 40"),
    ],
)
def test_changes_of_spectrograms(augment: dict[str, Any], field: str, said: str) -> None:
    teacher = {**RESNET, "input_shape": [1, -1, -1]}
    [(code, path, message)] = faults(teacher=teacher, data=SOUNDS, train={"augment": augment})
    assert (code, path) == ("augment_does_not_fit", f"train/augment/{field}")
    assert said in message


def test_changes_that_fit() -> None:
    teacher = {**RESNET, "input_shape": [1, -1, -1]}
    fine = {"time_shift": 10, "time_mask": 10, "mel_mask": 8}
    assert not faults(teacher=teacher, data=SOUNDS, train={"augment": fine})
    assert not faults(teacher=teacher, data=SOUNDS)
    assert one(train={"augment": fine | {"time_mask": 0, "mel_mask": 0}}) == (
        "augment_does_not_fit",
        "train/augment/time_shift",
    )
    assert not faults(train={"augment": {"crop": 2, "flip": True}})


def test_rows_that_are_missing_unchecked_or_rejected() -> None:
    checking = Teacher(id="tch_1", status=CheckStatus.CHECKING, report={})
    failed = {"checks": [{"id": "zip", "result": "fail", "detail": "The archive is cut off"}]}
    rejected = Dataset(id="dst_1", status=CheckStatus.REJECTED, report=failed)
    wanted = spec(KD, {"type": "mlp"})
    assert [fault.code for fault in fit.faults(wanted, Rows(None))] == ["unknown_teacher", "unknown_dataset"]
    waiting, never = fit.faults(wanted, Rows(rejected, {"tch_1": checking}))
    assert (waiting.code, waiting.passing) == ("not_ready", True)
    assert (never.code, never.passing) == ("dataset_rejected", False)
    assert "The archive is cut off" in never.message

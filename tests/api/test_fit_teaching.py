"""Every way of teaching: what does not fit is found at the teacher, the student and the loss that it is about."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from api import fit
from api.fitting.rows import Rows
from models.canonical import DatasetMeta
from models.spec.job import JobSpec
from models.status import CheckStatus
from models.tables import Dataset, Teacher
from tests.api.made import CLASSES, IMAGES, MLP, OUTPUTS, RESNET, TABLE, Made, problem

KD, HINT, SIMILARITY = {"type": "kd"}, {"type": "hint"}, {"type": "similarity"}
STUDENT = {"type": "resnet", "depth": 8}
PERCEPTRON = {"type": "mlp"}
GRAPH: dict[str, Any] = {
    "architecture": {"type": "onnx"},
    "input_shape": [3, -1, -1],
    "num_outputs": 3,
    "parameters": 1000,
    "graph_input": "x",
    "graph_output": "y",
}
REGRESSION = {
    **TABLE,
    "task": "tabular_regression",
    "num_outputs": 1,
    "classes": [],
    "target": {"name": "price", "mean": 0.0, "std": 1.0},
}
PARTLY = {**IMAGES, "labelled": {"train": 40}}
BARE = {**IMAGES, "labelled": {"train": 0}}
FIVE = {**RESNET, "num_outputs": 5}
GIVEN = {"type": "outputs", "dataset": "dst_2"}


def faults(
    teacher: Any,
    loss: Any = KD,
    data: dict[str, Any] = IMAGES,
    metas: Sequence[dict[str, Any]] = (RESNET, RESNET),
    student: Any = STUDENT,
    given: dict[str, Any] = OUTPUTS,
    **more: Any,
) -> list[tuple[str, str, str]]:
    """(code, path, message) of each fault; teachers are tch_1, tch_2 ..., given outputs dst_2."""
    body = {"teacher": teacher, "dataset": "dst_1", "student": student, "loss": loss, **more}
    state: dict[str, Any] = {"status": CheckStatus.READY, "report": {}}
    rows = Rows(
        Dataset(id="dst_1", meta=data, **state),
        {f"tch_{at}": Teacher(id=f"tch_{at}", meta=meta, **state) for at, meta in enumerate(metas, 1)},
        {"dst_2": Dataset(id="dst_2", meta=given, **state)},
    )
    found = fit.faults(JobSpec.model_validate(body), rows)
    return [(fault.code, "/".join(map(str, fault.loc)), fault.message) for fault in found]


def one(*args: Any, **more: Any) -> tuple[str, str]:
    (found,) = faults(*args, **more)
    return found[:2]


def ensemble(*teachers: Any, **more: Any) -> dict[str, Any]:
    return {"type": "ensemble", "teachers": list(teachers or ("tch_1", "tch_2")), **more}


def mapped(classes: Any) -> dict[str, Any]:
    return {"type": "stored", "id": "tch_1", "classes": classes}


@pytest.mark.parametrize(
    "teacher",
    [
        ensemble(),
        ensemble("tch_1", GIVEN),
        GIVEN,
        {"type": "born_again"},
        {"type": "born_again", "teacher": "tch_1"},
        {"type": "snapshot", "every": 2},
        {"type": "ema"},
        {"type": "peers", "students": [PERCEPTRON]},
        {"type": "branches"},
    ],
)
def test_what_fits_has_no_fault(teacher: Any) -> None:
    assert faults(teacher) == []


def test_a_job_without_a_stored_teacher_needs_none() -> None:
    assert faults({"type": "ema"}, metas=()) == []
    assert [fault[:2] for fault in faults(ensemble(), metas=[RESNET])] == [("unknown_teacher", "teacher/teachers/1/id")]
    first = {"type": "born_again", "teacher": "tch_9"}
    assert one(first) == ("unknown_teacher", "teacher/teacher/id")


@pytest.mark.parametrize(
    ("teacher", "loc"),
    [
        ("tch_1", "teacher"),
        (ensemble("tch_2", "tch_1"), "teacher/teachers/1"),
        ({"type": "born_again", "teacher": "tch_1"}, "teacher/teacher"),
    ],
)
def test_each_teacher_must_read_the_data_and_have_its_classes(teacher: Any, loc: str) -> None:
    gray = {**RESNET, "input_shape": [1, -1, -1]}
    assert one(teacher, metas=[gray, RESNET]) == ("input_differs", loc)
    assert one(teacher, metas=[FIVE, RESNET]) == ("class_count_differs", loc)
    other = {**RESNET, "classes": ["cat", "fox", "dog"]}
    assert one(teacher, metas=[other, RESNET]) == ("classes_differ", loc)


def test_given_outputs_have_columns_and_rows_of_the_data_set() -> None:
    assert one(GIVEN, given={**OUTPUTS, "num_outputs": 4}) == ("class_count_differs", "teacher")
    assert one(GIVEN, given={**OUTPUTS, "classes": ["fox", "dog", "cat"]}) == ("classes_differ", "teacher")
    assert faults({**GIVEN, "classes": "by_name"}, given={**OUTPUTS, "classes": ["fox", "dog", "cat"]}) == []
    code, path, message = faults(GIVEN, given={**OUTPUTS, "last_row": 120})[0]
    assert (code, path) == ("outputs_do_not_fit", "teacher/dataset")
    assert "row 120, and the data set has 120" in message
    assert faults(GIVEN, given={**OUTPUTS, "last_row": 119}) == []
    found = one(ensemble("tch_1", GIVEN), given={**OUTPUTS, "last_row": 120})
    assert found == ("outputs_do_not_fit", "teacher/teachers/1/dataset")


def test_data_sets_are_taken_for_what_they_are() -> None:
    assert one(GIVEN, given=IMAGES) == ("dataset_as_outputs", "teacher/dataset")
    code, path, message = faults("tch_1", data=OUTPUTS)[0]
    assert (code, path) == ("outputs_as_dataset", "dataset")
    assert '"type": "outputs", "dataset": "dst_1"' in message


def test_only_teachers_that_a_loss_listens_to_need_the_classes() -> None:
    terms = [{**KD, "teacher": "tch_2"}, {**SIMILARITY, "teacher": "tch_1"}]
    assert faults(ensemble(), terms, metas=[FIVE, RESNET]) == []
    assert one(ensemble(), [*terms, KD], metas=[FIVE, RESNET]) == ("class_count_differs", "teacher/teachers/0")
    smoothing = {"type": "uld"}  # compares sorted outputs, but of the combination
    (found,) = faults(ensemble(), smoothing, metas=[FIVE, RESNET])
    assert found[:2] == ("class_count_differs", "teacher/teachers/0")
    assert "combined" in found[2]


NAMED = {**RESNET, "num_outputs": 4, "classes": ["owl", "fox", "cat", "elk"]}


def test_classes_are_mapped_by_name_or_by_hand() -> None:
    assert faults(mapped("by_name"), metas=[NAMED]) == []
    assert faults(mapped({"dog": "elk", "cat": "cat"}), metas=[NAMED]) == []
    assert faults(mapped({"dog": "4", "cat": "0"}), metas=[FIVE]) == []


@pytest.mark.parametrize(
    ("classes", "path", "words"),
    [
        ({"dgo": "elk", "cat": "cat"}, "dgo", "The data set has no class `dgo` (did you mean `dog`?)"),
        ({"dog": "foxx", "cat": "cat"}, "dog", "The teacher has no class `foxx` (did you mean `fox`?)"),
        ({"dog": "cat", "cat": "cat"}, "cat", "stands for both `dog` and `cat`"),
    ],
)
def test_a_map_names_classes_that_there_are(classes: Any, path: str, words: str) -> None:
    code, found, message = faults(mapped(classes), metas=[NAMED])[0]
    assert (code, found) == ("class_map", f"teacher/classes/{path}")
    assert words in message


def test_two_classes_by_name_are_the_least() -> None:
    code, path, message = faults(mapped("by_name"), metas=[{**NAMED, "classes": ["owl", "fox", "bee", "elk"]}])[0]
    assert (code, path) == ("class_map", "teacher/classes")
    assert "cat, dog, fox" in message
    assert "owl, fox, bee, elk" in message
    (nameless,) = faults(mapped("by_name"), metas=[FIVE])
    assert nameless[:2] == ("class_map", "teacher/classes")
    assert "hand it in again with `classes`" in nameless[2]


def test_a_regression_has_nothing_to_map() -> None:
    values = {**MLP, "num_outputs": 1}
    terms = {"type": "logits_mse"}
    assert one(mapped("by_name"), terms, REGRESSION, [values], PERCEPTRON) == ("class_map", "teacher/classes")


def test_an_ensemble_speaks_for_two_classes_in_common() -> None:
    first = {**mapped({"cat": "cat", "dog": "elk"})}
    second = {"type": "stored", "id": "tch_2", "classes": {"dog": "dog", "fox": "fox"}}
    both = [NAMED, {**RESNET, "classes": CLASSES}]
    assert one(ensemble(first, second), metas=both) == ("class_map", "teacher/teachers")
    third = {**second, "classes": {"cat": "cat", "dog": "dog"}}
    assert faults(ensemble(first, third), metas=both) == []


def test_a_loss_sees_the_mapped_classes_alone() -> None:
    two = mapped({"cat": "cat", "dog": "elk"})
    assert one(two, [KD, {"type": "dkd"}], metas=[NAMED]) == ("too_few_classes", "loss/1/type")
    assert faults(mapped({"cat": "cat", "dog": "elk", "fox": "fox"}), {"type": "dkd"}, metas=[NAMED]) == []


def test_features_are_those_of_the_teacher_that_the_loss_names() -> None:
    taps = [{"student": "layer3", "teacher": "relu"}]
    graph = {**GRAPH, "taps": [{"name": "relu", "shape": [8, 4, 4]}]}
    assert faults(ensemble(), [KD, {**HINT, "teacher": "tch_2", "taps": taps}], metas=[RESNET, graph]) == []
    wrong = [KD, {**HINT, "teacher": "tch_1", "taps": taps}]
    assert one(ensemble(), wrong, metas=[RESNET, graph]) == ("unknown_tap", "loss/1/taps/0/teacher")
    assert one(ensemble(), [{**SIMILARITY, "teacher": "tch_2"}], metas=[RESNET, GRAPH]) == (
        "teacher_without_embedding",
        "loss/0/type",
    )
    assert faults(ensemble(), [{**SIMILARITY, "teacher": "tch_1"}], metas=[RESNET, GRAPH]) == []


@pytest.mark.parametrize(
    "teacher", [{"type": "ema"}, {"type": "snapshot", "every": 2}, {"type": "born_again"}, {"type": "peers",
                "students": [{"type": "resnet", "depth": 14}]}]
)  # fmt: skip
def test_students_that_teach_have_their_own_points(teacher: Any) -> None:
    hint = {**HINT, "taps": [{"student": "layer3", "teacher": "hidden.0"}]}
    assert one(teacher, [KD, hint]) == ("unknown_tap", "loss/1/taps/0/teacher")
    assert faults(teacher, [KD, {**HINT, "taps": [{"student": "layer3", "teacher": "layer2"}]}]) == []


def test_peers_must_take_the_data() -> None:
    peers = {"type": "peers", "students": [PERCEPTRON, STUDENT]}
    assert one(peers, data=TABLE, student=PERCEPTRON) == ("student_not_for_data", "teacher/students/1/type")


def test_assistants_are_held_to_what_a_student_is_held_to() -> None:
    assistants: list[Any] = [{"student": PERCEPTRON, "loss": [KD, {"type": "logits_mse"}]}, {"student": STUDENT}]
    assert one("tch_1", data=TABLE, metas=[MLP], student=PERCEPTRON, assistants=assistants) == (
        "student_not_for_data",
        "assistants/1/student/type",
    )
    two = {**TABLE, "num_outputs": 2, "classes": CLASSES[:2]}
    assistants = [{"student": PERCEPTRON, "loss": [KD, {"type": "dkd"}], "train": {"batch_size": 101}}]
    found = faults("tch_1", data=two, metas=[{**MLP, "num_outputs": 2}], student=PERCEPTRON, assistants=assistants)
    assert {fault[:2] for fault in found} == {
        ("too_few_classes", "assistants/0/loss/1/type"),
        ("batch_too_large", "assistants/0/train/batch_size"),
    }


def test_only_the_first_assistant_listens_to_the_teacher() -> None:
    assistants = [{"student": STUDENT, "loss": SIMILARITY}]
    assert faults("tch_1", metas=[FIVE], assistants=assistants) == []
    assistants = [{"student": STUDENT, "loss": KD}]
    assert one("tch_1", SIMILARITY, metas=[FIVE], assistants=assistants) == ("class_count_differs", "teacher")
    hint = {**HINT, "taps": [{"student": "layer3", "teacher": "layer4"}]}
    assert one("tch_1", hint, assistants=[{"student": STUDENT, "loss": KD}]) == ("unknown_tap", "loss/0/taps/0/teacher")


def test_the_same_fault_of_several_students_is_told_once() -> None:
    assistants = [{"student": {"type": "resnet", "depth": 14}}]
    terms = {"type": "crd", "form": "bank", "dim": 512}
    large = {**IMAGES, "counts": {"train": 10**6, "val": 10, "test": 10}}
    assert one("tch_1", terms, large, assistants=assistants) == ("bank_too_large", "loss/0/dim")


@pytest.mark.parametrize("teacher", ["tch_1", ensemble(), {"type": "ema"}, {"type": "branches"}])
def test_losses_that_read_labels_need_all_of_them(teacher: Any) -> None:
    code, path, message = faults(teacher, [KD, {"type": "dkd"}], PARTLY)[0]
    assert (code, path) == ("needs_labels", "loss/1/type")
    assert "60 of 100 training rows" in message
    assert faults(teacher, KD, PARTLY) == []
    assert faults(teacher, [KD, {"type": "dkd"}], {**IMAGES, "labelled": {"val": 0}}) == []


def test_assistants_read_labels_as_well() -> None:
    assistants = [{"student": STUDENT, "loss": [KD, {"type": "dkd"}]}]
    assert one("tch_1", data=PARTLY, assistants=assistants) == ("needs_labels", "assistants/0/loss/1/type")


def test_ways_of_combining_that_the_data_does_not_allow() -> None:
    assert one(ensemble(combine="cross_entropy"), data=PARTLY) == ("needs_labels", "teacher/combine")
    assert faults(ensemble(combine="entropy"), data=BARE) == []
    assert faults(ensemble(combine="cross_entropy")) == []
    values = [{**MLP, "num_outputs": 1}] * 2
    for way in ("cross_entropy", "entropy"):
        found = one(ensemble(combine=way), {"type": "logits_mse"}, REGRESSION, values, PERCEPTRON)
        assert found == ("combine_does_not_fit", "teacher/combine")
    assert faults(ensemble(), {"type": "logits_mse"}, REGRESSION, values, PERCEPTRON) == []


@pytest.mark.parametrize("teacher", [{"type": "ema"}, {"type": "born_again"}, {"type": "peers", "students": [STUDENT]}])
def test_without_any_label_somebody_must_have_been_handed_in(teacher: Any) -> None:
    assert one(teacher, data=BARE) == ("needs_labels", "teacher")
    assert faults(teacher, data=PARTLY) == []
    assert faults({"type": "born_again", "teacher": "tch_1"}, data=BARE) == []


def test_mixtures_need_no_label_of_each_sample() -> None:
    assert faults("tch_1", data=PARTLY, train={"mixup": 0.2}) == []


def test_batch_sizes_of_assistants_are_cut_as_well() -> None:
    assistants = [{"student": STUDENT, "train": {"epochs": 3}}, {"student": STUDENT, "train": {"batch_size": 7}}]
    body = {"teacher": "tch_1", "dataset": "dst_1", "student": STUDENT, "loss": KD, "assistants": assistants}
    cut = fit.adapted(JobSpec.model_validate(body), DatasetMeta.model_validate(IMAGES))
    assert cut.train.batch_size == 100
    assert [each.train and each.train.batch_size for each in cut.assistants] == [100, 7]


@pytest.mark.parametrize(
    ("short", "pointer"),
    [
        ("tch_none", "/teacher"),
        ({"type": "stored", "id": "tch_none"}, "/teacher/id"),
        (ensemble(GIVEN, "tch_none"), "/teacher/teachers/1"),
        (ensemble(GIVEN, {"type": "stored", "id": "tch_none"}), "/teacher/teachers/1/id"),
        ({"type": "born_again", "teacher": "tch_none"}, "/teacher/teacher"),
        ({"type": "born_again", "teacher": {"type": "stored", "id": "tch_none"}}, "/teacher/teacher/id"),
        ({"type": "outputs", "dataset": "dst_none"}, "/teacher/dataset"),
    ],
)
def test_an_unknown_teacher_is_pointed_at_as_it_was_written(
    api: httpx.Client, made: Made, short: Any, pointer: str
) -> None:
    body = made.body(teacher=short)
    if isinstance(short, dict) and short["type"] == "ensemble":
        given = {"type": "outputs", "dataset": made.dataset(OUTPUTS)}
        body["teacher"] = ensemble(given, short["teachers"][1])
    code = "unknown_dataset" if pointer.endswith("dataset") else "unknown_teacher"
    problem(api.post("/jobs", json=body), 422, code, pointer)
    told = api.post("/jobs/validate", json=body).json()
    assert [(fault["code"], fault["pointer"]) for fault in told["problems"]] == [(code, pointer)]


def test_all_that_does_not_fit_is_told_at_its_place(api: httpx.Client, made: Made) -> None:
    taken, waiting = made.teacher(NAMED), made.checking("teachers")
    way = ensemble({"type": "stored", "id": taken, "classes": {"cat": "cat", "dgo": "elk"}}, waiting)
    assistants = [{"student": STUDENT, "loss": [KD, {**KD, "teacher": taken}, {"type": "dkd"}]}]
    body = made.body(teacher=way, student=PERCEPTRON, assistants=assistants, dataset=made.dataset(PARTLY))
    told = api.post("/jobs/validate", json=body).json()
    assert {(fault["code"], fault["pointer"]) for fault in told["problems"]} == {
        ("not_ready", "/teacher/teachers/1"),
        ("class_map", "/teacher/teachers/0/classes/dgo"),
        ("needs_labels", "/assistants/0/loss/2/type"),
    }
    assert api.post("/jobs", json=body).status_code == 422


def test_outputs_and_data_that_are_mixed_up(api: httpx.Client, made: Made) -> None:
    data, given = made.dataset(IMAGES), made.dataset(OUTPUTS)
    swapped = made.body(teacher={"type": "outputs", "dataset": data}, dataset=given)
    told = api.post("/jobs/validate", json=swapped).json()
    assert [(fault["code"], fault["pointer"]) for fault in told["problems"]] == [
        ("dataset_as_outputs", "/teacher/dataset"),
        ("outputs_as_dataset", "/dataset"),
    ]
    right = made.body(teacher={"type": "outputs", "dataset": given}, dataset=data)
    assert api.post("/jobs", json=right).status_code == 201
    problem(api.post("/jobs", json={**right, "dataset": given}), 422, "outputs_as_dataset", "/dataset")


def test_a_job_that_needs_no_teacher_is_made(api: httpx.Client, made: Made) -> None:
    job = api.post("/jobs", json=made.body(teacher={"type": "branches"}))
    assert job.status_code == 201, job.text
    assert (job.json()["spec"]["teacher"], job.json()["spec"]["hard"]) == ({"type": "branches"}, 1.0)
    assert api.get("/teachers").json()["items"] == []

"""POST /jobs/validate shows which feature points are compared, and a job that has none to compare is refused."""

from typing import Any

import httpx
import pytest

from api import pairs
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from tests.api.made import IMAGES, MLP, RESNET, TABLE, Made, problem

HINT = {"type": "hint"}
STUDENT = {"type": "resnet", "depth": 8}
#: A graph for images of one size: neighbours of one shape are one stage.
GRAPH: dict[str, Any] = {
    "architecture": {"type": "onnx"},
    "input_shape": [3, 16, 16],
    "num_outputs": 3,
    "parameters": 1000,
    "graph_input": "x",
    "graph_output": "y",
    "taps": [
        {"name": "conv1", "shape": [8, 16, 16]},
        {"name": "relu1", "shape": [8, 16, 16]},
        {"name": "relu2", "shape": [32, 8, 8]},
    ],
}
LAYERS = [("layer1", [16, 16, 16]), ("layer2", [32, 8, 8]), ("layer3", [64, 4, 4])]


def told(
    loss: Any = HINT,
    teacher: Any = "tch_1",
    student: Any = STUDENT,
    data: Any = IMAGES,
    metas: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """For each term: [(student's point, its shape, teacher's point, its shape)], or None."""
    body = {"teacher": teacher, "dataset": "dst_1", "student": student, "loss": loss, **more}
    teachers = {name: TeacherMeta.model_validate(meta) for name, meta in (metas or {"tch_1": RESNET}).items()}
    found = pairs.paired(JobSpec.model_validate(body), teachers, DatasetMeta.model_validate(data))
    return {
        each.pointer: None
        if each.pairs is None
        else [
            (pair.student, each.student.shape(pair.student), pair.teacher, each.teacher.shape(pair.teacher))
            for pair in each.pairs
        ]
        for each in found
    }


SAME = [(name, shape, name, shape) for name, shape in LAYERS]


def test_stages_are_paired_for_the_size_of_the_data() -> None:
    assert told() == {"/loss/0": SAME}
    wide = {**RESNET, "architecture": {"type": "resnet", "depth": 20, "width": 2}}
    assert told([{"type": "kd"}, HINT], metas={"tch_1": wide}) == {
        "/loss/1": [(name, shape, name, [2 * shape[0], *shape[1:]]) for name, shape in LAYERS]
    }


def test_a_teacher_that_resizes_has_the_stages_of_its_own_size() -> None:
    large = {**RESNET, "input": {"size": [32, 32]}}
    (found,) = told(metas={"tch_1": large}).values()
    assert [(student, teacher) for student, _, teacher, _ in found] == [("layer1", "layer2"), ("layer2", "layer3")]
    assert [shape for *_, shape in found] == [[32, 16, 16], [64, 8, 8]]


def test_a_perceptron_learns_from_the_deepest_map() -> None:
    assert told(student={"type": "mlp", "hidden": [9]}) == {"/loss/0": [("hidden.0", [9], "layer3", [64, 4, 4])]}


def test_a_graph_of_one_size_is_paired_by_what_its_check_saw() -> None:
    assert told(metas={"tch_1": GRAPH}) == {
        "/loss/0": [("layer1", [16, 16, 16], "relu1", [8, 16, 16]), ("layer2", [32, 8, 8], "relu2", [32, 8, 8])]
    }


def test_what_only_the_built_network_knows_is_left_to_the_start() -> None:
    assert told(student={"type": "timm", "name": "resnet18"}) == {"/loss/0": None}
    assert told(metas={"tch_1": {**GRAPH, "input_shape": [3, -1, -1]}}) == {"/loss/0": None}
    assert told(metas={"tch_1": {**RESNET, "architecture": {"type": "timm", "name": "resnet18"}}}) == {"/loss/0": None}


def test_given_taps_have_the_shapes_that_are_known() -> None:
    taps = [{"student": "layer1.0.conv1", "teacher": "conv1"}, {"student": "layer2", "teacher": "relu2"}]
    assert told({"type": "hint", "taps": taps}, metas={"tch_1": GRAPH}) == {
        "/loss/0": [("layer1.0.conv1", None, "conv1", [8, 16, 16]), ("layer2", [32, 8, 8], "relu2", [32, 8, 8])]
    }


def test_a_term_is_paired_with_the_member_of_an_ensemble_that_it_names() -> None:
    ensemble = {"type": "ensemble", "teachers": ["tch_1", "tch_2"]}
    terms = [{"type": "kd"}, {**HINT, "teacher": "tch_2"}, {**HINT, "teacher": "tch_1"}]
    metas = {"tch_1": RESNET, "tch_2": GRAPH}
    found = told(terms, ensemble, metas=metas)
    assert [teacher for _, _, teacher, _ in found["/loss/1"]] == ["relu1", "relu2"]
    assert found["/loss/2"] == SAME


def test_assistants_are_paired_with_who_comes_before_them() -> None:
    assistants = [{"student": {"type": "mlp", "hidden": [9]}, "loss": HINT}, {"student": {**STUDENT, "width": 2}}]
    found = told([{"type": "kd"}, HINT], assistants=assistants)
    assert found == {
        "/assistants/0/loss/0": [("hidden.0", [9], "layer3", [64, 4, 4])],
        "/assistants/1/loss/1": [("layer3", [128, 4, 4], "hidden.0", [9])],
        "/loss/1": [(name, shape, name, [2 * shape[0], *shape[1:]]) for name, shape in LAYERS],
    }


@pytest.mark.parametrize(
    "teacher", [{"type": "ema"}, {"type": "born_again", "generations": 2}, {"type": "born_again", "teacher": "tch_1"}]
)
def test_a_student_that_teaches_itself_has_its_own_stages(teacher: Any) -> None:
    assert told(teacher=teacher) == {"/loss/0": SAME}


def test_without_a_pair_the_place_in_the_spec_is_told() -> None:
    bare = {"type": "mlp", "hidden": []}
    body = {"teacher": "tch_1", "dataset": "dst_1", "student": bare, "loss": [{"type": "kd"}, HINT]}
    assistants = [{"student": bare}, {"student": bare, "loss": HINT}]
    spec = JobSpec.model_validate({**body, "assistants": assistants})
    found = dict(
        pairs.unpaired(spec, {"tch_1": TeacherMeta.model_validate(RESNET)}, DatasetMeta.model_validate(IMAGES))
    )
    assert set(found) == {("loss", 1, "taps"), ("assistants", 1, "loss", 0, "taps")}
    assert "no stage of the student (it has none)" in found["loss", 1, "taps"]


def test_validate_shows_the_pairs(api: httpx.Client, made: Made) -> None:
    said = api.post("/jobs/validate", json=made.body(loss=[{"type": "kd"}, HINT])).json()
    assert said["valid"], said
    assert said["pairs"] == {
        "/loss/1": [
            {"student": name, "teacher": name, "student_shape": shape, "teacher_shape": shape} for name, shape in LAYERS
        ]
    }
    assert api.post("/jobs/validate", json=made.body()).json()["pairs"] == {}


def test_a_job_without_a_pair_is_refused(api: httpx.Client, made: Made) -> None:
    given = {"teacher": made.teacher(MLP), "dataset": made.dataset(TABLE)}
    body = made.body(**given, student={"type": "mlp", "hidden": []}, loss=HINT)
    refused = problem(api.post("/jobs", json=body), 422, "no_pair", "/loss")
    said = api.post("/jobs/validate", json=body).json()
    assert said["valid"] is False
    assert [(fault["code"], fault["message"]) for fault in said["problems"]] == [("no_pair", refused["detail"])]
    assert said["pairs"] == {"/loss/0": []}


def test_what_is_being_checked_has_no_pairs_yet(api: httpx.Client, made: Made) -> None:
    said = api.post("/jobs/validate", json=made.body(teacher=made.checking("teachers"), loss=HINT)).json()
    assert ([fault["code"] for fault in said["problems"]], said["pairs"]) == (["not_ready"], {})

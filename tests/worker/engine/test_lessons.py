"""The plan of a job: who is trained, in which order, by whom, and from what chance."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserConfig
from models.spec.job import JobSpec
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, run
from worker.engine.lessons import Beside, ByLabels, Earlier, Itself, Outside, Syllabus, syllabus
from worker.engine.wiring import wire

CPU = torch.device("cpu")
MLP = {"type": "mlp", "hidden": [24]}


def plan(**fields: Any) -> Syllabus:
    return syllabus(JobSpec.model_validate(orders.spec(**fields)))


def guides(planned: Syllabus) -> list[tuple[str, object]]:
    return [(lesson.name, lesson.guide) for lesson in planned.lessons]


def test_a_plain_job_is_the_student_and_its_control_from_one_start() -> None:
    planned = plan()
    assert guides(planned) == [("student", Outside()), ("control", ByLabels())]
    student, control = planned.lessons
    assert student.seed == control.seed == student.train.seed == control.train.seed
    assert (control.terms, control.hard) == ((), 1.0)
    assert guides(plan(train={"control": False})) == [("student", Outside())]


def test_without_labels_there_is_no_control() -> None:
    spec = JobSpec.model_validate(orders.spec())
    assert syllabus(spec, has_labels=False).control is None


def test_assistants_stand_in_a_row_each_with_its_own_chance() -> None:
    planned = plan(assistants=[{"student": MLP, "train": {"epochs": 7}}, {"student": MLP, "loss": {"type": "hint"}}])
    assert guides(planned) == [
        ("assistant_1", Outside()),
        ("assistant_2", Earlier("assistant_1")),
        ("student", Earlier("assistant_2")),
        ("control", ByLabels()),
    ]
    first, second, student, _ = planned.lessons
    assert (first.train.epochs, second.train.epochs) == (7, 2)
    assert second.hard == 1.0
    assert len({first.seed, second.seed, student.seed}) == 3
    assert len({first.train.seed, second.train.seed, student.train.seed}) == 3
    assert planned.stages == ["assistant_1", "assistant_2"]
    assert second.pointer("/loss/0/taps") == "/assistants/1/loss/0/taps"
    assert first.pointer("/train/batch_size") == "/assistants/0/train/batch_size"
    assert student.pointer("/train/batch_size") == "/train/batch_size"


def test_generations_end_with_the_student_and_the_first_without_a_teacher_is_the_control() -> None:
    alone = plan(teacher={"type": "born_again", "generations": 3})
    assert guides(alone) == [
        ("generation_1", ByLabels()),
        ("generation_2", Earlier("generation_1")),
        ("student", Earlier("generation_2")),
    ]
    assert alone.control == "generation_1"
    assert len({lesson.seed for lesson in alone.lessons}) == 3
    taught = plan(teacher={"type": "born_again", "generations": 2, "teacher": "tch_1"})
    assert guides(taught) == [
        ("generation_1", Outside()),
        ("student", Earlier("generation_1")),
        ("control", ByLabels()),
    ]
    assert guides(plan(teacher={"type": "born_again", "generations": 1, "teacher": "tch_1"}))[0] == (
        "student",
        Outside(),
    )


def test_peers_are_one_group_on_the_same_batches_from_different_starts() -> None:
    train = {"early_stopping": {"patience": 2}}
    planned = plan(teacher={"type": "peers", "students": [MLP, MLP]}, train=train)
    assert [[lesson.name for lesson in group] for group in planned.groups] == [
        ["student", "peer_1", "peer_2"],
        ["control"],
    ]
    student, one, two = planned.groups[0]
    assert student.guide == one.guide == two.guide == Beside()
    assert student.train.seed == one.train.seed == two.train.seed
    assert len({student.seed, one.seed, two.seed}) == 3
    assert one.train.early_stopping is None, "the student says when to stop"
    assert two.pointer("/student/hidden") == "/teacher/students/1/hidden"


@pytest.mark.parametrize("kind", ["snapshot", "ema", "branches"])
def test_a_student_that_teaches_itself_is_one_lesson(kind: str) -> None:
    teacher = {"type": kind, **({"every": 1} if kind == "snapshot" else {})}
    planned = plan(teacher=teacher, student={"type": "mlp", "hidden": [8, 8]})
    assert [lesson.name for lesson in planned.lessons] == ["student", "control"]
    assert isinstance(planned.lessons[0].guide, Itself)


def refused(order: Any, folder: Path) -> tuple[str, str, str]:
    with pytest.raises(UserConfig) as caught:
        wire(order, folder, CPU)
    return caught.value.code, caught.value.errors[0].pointer, caught.value.detail


def test_what_is_wrong_with_an_assistant_is_found_before_anything_is_trained(small: Make, tmp_path: Path) -> None:
    taps = [{"student": "hidden.7", "teacher": "hidden.0"}]
    order = small(assistants=[{"student": MLP}, {"student": MLP, "loss": {"type": "hint", "taps": taps}}])
    code, pointer, detail = refused(order, tmp_path / "work")
    assert (code, pointer) == ("unknown_tap", "/assistants/1/loss/0/taps/0/student")
    assert "hidden.0" in detail


def test_taps_are_paired_anew_for_each_stage(small: Make, tmp_path: Path) -> None:
    two = {"type": "mlp", "hidden": [24, 20]}
    order = small(assistants=[{"student": two}], loss={"type": "hint"}, student=two)
    report = run(order, tmp_path / "work").report
    assert report["stages"][0]["taps"] == {"hint": [{"student": "hidden.1", "teacher": "hidden.0"}]}
    assert report["taps"] == {"hint": [{"student": f"hidden.{at}", "teacher": f"hidden.{at}"} for at in range(2)]}


def test_a_peer_that_cannot_be_built_points_to_itself(small: Make, tmp_path: Path) -> None:
    wide = {"type": "layers", "layers": [{"type": "conv", "out": 4, "kernel": 31, "padding": 0}]}
    order = small(teacher={"type": "peers", "students": [MLP, wide]})
    code, pointer, _ = refused(order, tmp_path / "work")
    assert code == "network"
    assert pointer.startswith("/teacher/students/1")


def test_branches_need_stages(small: Make, tmp_path: Path) -> None:
    shape = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "num_heads": 2}
    vit = {"type": "timm", "name": "vit_tiny_patch16_224", "kwargs": {**shape, "depth": 1}}
    code, pointer, detail = refused(small(teacher={"type": "branches"}, student=vit), tmp_path / "work")
    assert (code, pointer) == ("too_few_stages", "/student")
    assert "two or more" in detail


def test_students_that_teach_each_other_need_labels(tmp_path: Path, few_digits: Data, small_teacher: Any) -> None:
    tensors, meta = few_digits
    bare = {**tensors, "y": torch.full_like(tensors["y"], -1)}
    record = meta.model_copy(update={"labelled": {"train": 0, "val": 0, "test": 0}})
    for teacher in ({"type": "ema"}, {"type": "peers", "students": [MLP]}, {"type": "born_again"}):
        order = orders.make_workdir(tmp_path, (bare, record), small_teacher, orders.spec(teacher=teacher))
        assert refused(order, tmp_path)[:2] == ("needs_labels", "/teacher")

"""The plan of a job: who is trained, in which order, by whom, and from what chance."""

from typing import Any

import pytest

from models.lessons import Beside, ByLabels, Earlier, Itself, Outside, Syllabus, syllabus
from models.spec.job import JobSpec

MLP = {"type": "mlp", "hidden": [24]}
BASE: dict[str, Any] = {"teacher": "tch_1", "dataset": "dst_1", "student": MLP, "loss": {"type": "kd", "T": 4}}


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({**BASE, **changes, "train": {"epochs": 2, **changes.get("train", {})}})


def plan(**changes: Any) -> Syllabus:
    return syllabus(spec(**changes))


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
    planned = syllabus(spec(), has_labels=False)
    assert guides(planned) == [("student", Outside())]
    assert planned.control is None


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
    student, control = planned.lessons
    assert (student.name, control.name) == ("student", "control")
    assert isinstance(student.guide, Itself)
    assert student.guide.way.type == kind
    assert student.has_exits == (kind == "branches")
    assert student.needs_labels


def test_a_job_that_was_begun_goes_on_from_the_same_chance() -> None:
    told = spec(assistants=[{"student": MLP}], train={"seed": 7})
    planned = syllabus(told)
    assert [lesson.seed for lesson in planned.lessons] == [6_455_744_377_370_105_062, 7, 7]
    assert syllabus(told.resolved()) == planned, "what is stored is the resolved spec"

"""The work of a job is counted from its lessons: what each trains, and who is asked while it does."""

from typing import Any

import pytest

from core.workload import workload
from models.canonical import DatasetMeta, TeacherMeta
from models.counting import cost_of
from models.spec.job import JobSpec
from models.spec.students import MLP, Onnx, Student

MLP_8 = MLP(hidden=[8])
FORWARD = 2 * (64 * 8 + 8 * 10) + 200 * (8 + 10)
#: A graph, of which the operations alone are known: its work is taken for twice as much.
TEACHER = TeacherMeta(architecture=Onnx(), input_shape=(1, 8, 8), num_outputs=10, parameters=1000, flops=1000)


def data(shape: tuple[int, ...] = (1, 8, 8), **more: Any) -> DatasetMeta:
    given = {"task": "image_classification", "counts": {"train": 100, "val": 20, "test": 10}, "num_outputs": 10}
    return DatasetMeta.model_validate({**given, "input_shape": shape, **more})


def spec(**changes: Any) -> JobSpec:
    told = {"teacher": "tch_1", "dataset": "dst_1", "student": MLP_8.model_dump(), "loss": {"type": "kd"}}
    train = {"epochs": 4, "batch_size": 30, "control": False, **changes.pop("train", {})}
    return JobSpec.model_validate({**told, "train": train, **changes}).resolved()


def test_steps_and_operations_of_a_plain_job() -> None:
    work = workload(spec(train={"control": True}), data(), [TEACHER])
    student = 4 * (3 * 100 + 20) * FORWARD
    assert cost_of(MLP_8, (1, 8, 8), 10).work == FORWARD  # type: ignore[union-attr]
    assert [(group.steps, group.work) for group in work.groups] == [(16, student + 100 * 2000), (16, student)]
    assert (work.steps, work.work) == (32, 2 * student + 100 * 2000)


def forward(student: Student) -> int:
    cost = cost_of(student, (1, 8, 8), 10)
    assert cost is not None
    return cost.work


DEEP, WIDE = MLP(hidden=[8, 8]), MLP(hidden=[16])
#: Work of training the student for 4 epochs, with validation; of the student on all training rows; of TEACHER on them.
TRAINED, ASKED, TAUGHT = 4 * 320 * forward(DEEP), 100 * forward(DEEP), 100 * 2000
PEER = [WIDE.model_dump()]
TWO = [{"type": "stored", "id": name} for name in ("tch_1", "tch_2")]


@pytest.mark.parametrize(
    ("changes", "num_teachers", "taught"),
    [
        ({"teacher": "tch_1"}, 1, [TRAINED + TAUGHT]),
        ({"teacher": {"type": "ensemble", "teachers": TWO}}, 2, [TRAINED + 2 * TAUGHT]),
        ({"teacher": {"type": "outputs", "dataset": "dst_2"}}, 0, [TRAINED]),
        (
            {"assistants": [{"student": WIDE.model_dump(), "train": {"epochs": 2}}]},
            1,
            [2 * 320 * forward(WIDE) + TAUGHT, TRAINED + 100 * forward(WIDE)],
        ),
        (
            {"teacher": {"type": "born_again", "generations": 2, "teacher": "tch_1"}},
            1,
            [TRAINED + TAUGHT, TRAINED + ASKED],
        ),
        ({"teacher": {"type": "snapshot", "every": 2}}, 0, [TRAINED + 4 * ASKED]),
        ({"teacher": {"type": "ema"}}, 0, [TRAINED + 4 * ASKED]),
        ({"teacher": {"type": "peers", "students": PEER}}, 0, [TRAINED + 4 * 320 * forward(WIDE)]),
        ({"teacher": {"type": "branches"}}, 0, [TRAINED]),
    ],
)
def test_every_way_of_teaching_counts_who_is_asked(
    changes: dict[str, Any], num_teachers: int, taught: list[int]
) -> None:
    told = spec(student=DEEP.model_dump(), train={"control": True}, **changes)
    work = workload(told, data(), [TEACHER] * num_teachers)
    assert [group.work for group in work.groups] == [*taught, TRAINED], "and the control is the last"
    unlabelled = workload(told, data(labelled={"train": 0, "val": 0, "test": 0}), [TEACHER] * num_teachers)
    assert [group.work for group in unlabelled.groups] == taught


def test_generations_without_a_teacher_begin_with_the_control() -> None:
    told = spec(student=DEEP.model_dump(), teacher={"type": "born_again", "generations": 3}, train={"control": True})
    assert [group.work for group in workload(told, data(), []).groups] == [TRAINED, TRAINED + ASKED, TRAINED + ASKED]


@pytest.mark.parametrize(
    ("train", "asked"),
    [
        ({}, 1),
        ({"mixup": 0.2}, 4),
        ({"augment": {"flip": True}}, 4),
        ({"augment": {"flip": True}, "teacher_cache": {"views": 2}}, 2),
        ({"augment": {"flip": True}, "teacher_cache": {"views": 9}}, 4),
    ],
)
def test_a_teacher_is_asked_once_about_what_does_not_change(train: dict[str, Any], asked: int) -> None:
    work = workload(spec(train=train), data(), [TEACHER])
    assert work.work == 4 * (3 * 100 + 20) * FORWARD + asked * 100 * 2000


def test_larger_images_are_cropped_and_so_change() -> None:
    counts = [workload(spec(), data((1, side, side)), [TEACHER]).work for side in (27, 28)]
    own = [cost_of(MLP_8, (1, side, side), 10) for side in (27, 28)]
    asked = [(flops or 0) - 4 * 320 * (cost.work if cost else 0) for flops, cost in zip(counts, own, strict=True)]
    assert asked == [100 * 2000, 4 * 100 * 2000]


def test_what_a_checkpoint_leaves_is_taken_off_the_first_groups() -> None:
    work = workload(spec(train={"control": True}), data(), [TEACHER])
    first, second = work.groups
    assert work.left(0.0) == work.groups
    assert work.left(0.5) == (second,)
    (rest,) = work.left(0.75)
    assert (rest.steps, rest.work) == (8, (second.work or 0) / 2)
    assert work.left(1.0) == ()
    assert work.left(0.25)[0].steps == first.steps // 2


def test_an_unknown_network_is_named() -> None:
    library = {"type": "timm", "name": "resnet18"}
    work = workload(spec(student=library), data((3, 32, 32)), [TEACHER])
    assert (work.work, work.unknown) == (None, ("the student `timm`",))
    (key,) = work.networks
    told = workload(spec(student=library), data((3, 32, 32)), [TEACHER], known={key: 10**9})
    assert told.work is not None
    assert told.unknown == ()


def test_rows_epochs_seeds_and_rates_are_the_same_work_and_a_batch_is_not() -> None:
    key = workload(spec(), data(), [TEACHER]).key
    same = {"epochs": 9, "seed": 3, "optimizer": {"type": "sgd", "lr": 0.5}}
    assert workload(spec(train=same, priority="high"), data(counts={"train": 7}), [TEACHER]).key == key
    assert workload(spec(train={"batch_size": 31}), data(), [TEACHER]).key != key
    chain = [{"student": MLP_8.model_dump()}]
    longer = [{"student": MLP_8.model_dump(), "train": {**spec().train.model_dump(), "epochs": 2}}]
    keys = {workload(spec(assistants=each), data(), [TEACHER]).key for each in (chain, longer)}
    assert len(keys) == 1

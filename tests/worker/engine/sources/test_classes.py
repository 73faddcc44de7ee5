"""Teachers of other classes than the data set's: by name, by hand, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import UserConfig
from models.canonical import TeacherMeta
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught, run
from tests.worker.engine.sources.conftest import STORED, Job, same, wired
from worker.engine.outputs import Batch

#: The digits, in an order of the teacher's own.
SHUFFLED = ["3", "1", "4", "0", "5", "9", "2", "6", "8", "7"]
FEW = ["seven", "one", "four", "something else"]
BY_HAND = {"7": "seven", "1": "one", "4": "four"}


def with_classes(taught: Taught, classes: list[str], weights: dict[str, torch.Tensor] | None = None) -> Taught:
    fields = {**taught[1].model_dump(), "classes": classes, "num_outputs": len(classes)}
    return weights or taught[0], TeacherMeta.model_validate(fields)


def shuffled(taught: Taught) -> Taught:
    """The same teacher with its outputs in another order."""
    order = torch.tensor([int(name) for name in SHUFFLED])
    weights = {name: x[order] if name.startswith("head") else x for name, x in taught[0].items()}
    return with_classes(taught, SHUFFLED, weights)


@pytest.fixture(scope="session")
def few_teacher(rows: Data) -> Taught:
    """One that tells sevens, ones and fours apart, and calls all others something else."""
    tensors, meta = rows
    y = torch.full_like(tensors["y"], 3)
    for place, digit in enumerate((7, 1, 4)):
        y[tensors["y"] == digit] = place
    fewer = meta.model_copy(update={"num_outputs": 4, "classes": FEW})
    taught = orders.train_teacher({**tensors, "y": y}, fewer, {"type": "mlp", "hidden": [32]}, epochs=12)
    return with_classes(taught, FEW)


def test_outputs_in_another_order_make_the_very_same_student(job: Job, rows: Data, tmp_path: Path) -> None:
    y = rows[0]["y"]
    logits = 4 * torch.nn.functional.one_hot(y, 10) + torch.randn(
        len(y), 10, generator=torch.Generator().manual_seed(0)
    )
    every, order = torch.arange(len(y)), torch.tensor([int(name) for name in SHUFFLED])
    loss = [{"type": "kd"}, {"type": "dkd"}]
    students = []
    for name, given in (("straight", (logits, every, orders.CLASSES)), ("other", (logits[:, order], every, SHUFFLED))):
        teacher = {"type": "outputs", "dataset": "dst_9", "classes": "by_name"}
        made = job(name, teachers={}, teacher=teacher, outputs={"dst_9": given}, loss=loss)
        students.append(run(made, tmp_path / name))
    straight, other = students
    assert same(straight.weights, other.weights)
    assert straight.report["test"] == other.report["test"]


def test_a_teacher_with_its_classes_in_another_order_makes_the_same_student(
    job: Job, row_teacher: Taught, tmp_path: Path
) -> None:
    loss = [{"type": "kd"}, {"type": "dkd"}, {"type": "hint"}]
    straight = run(job("straight", loss=loss), tmp_path / "straight")
    teacher = {"type": "stored", "id": "tch_1", "classes": "by_name"}
    order = job("other", teachers=shuffled(row_teacher), teacher=teacher, loss=loss)
    other = run(order, tmp_path / "other")
    alike(straight.weights, other.weights)
    for figure in ("accuracy", "cross_entropy"):
        assert other.report["test"]["teacher"][figure] == pytest.approx(straight.report["test"]["teacher"][figure])


def test_members_of_an_ensemble_may_each_have_an_order_of_their_own(
    job: Job, two: dict[str, Taught], row_teacher: Taught, tmp_path: Path
) -> None:
    loss = [{"type": "kd"}, {"type": "kd", "teacher": "tch_1"}]
    plain = {"type": "ensemble", "teachers": STORED}
    mapped = {"type": "ensemble", "teachers": [{**STORED[0], "classes": "by_name"}, STORED[1]]}
    straight = run(job("a", teachers=two, teacher=plain, loss=loss), tmp_path / "a")
    teachers = {**two, "tch_1": shuffled(row_teacher)}
    other = run(job("b", teachers=teachers, teacher=mapped, loss=loss), tmp_path / "b")
    alike(straight.weights, other.weights)


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """A matrix product gives its columns in last bits by their places, and nothing else may differ."""
    for name, x in one.items():
        torch.testing.assert_close(x, other[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [BY_HAND, "by_name"])
def test_a_term_sees_the_mapped_classes_alone(job: Job, few_teacher: Taught, tmp_path: Path, classes: Any) -> None:
    teacher_names = ["7", "1", "4", "something else"] if classes == "by_name" else FEW
    taught = with_classes(few_teacher, teacher_names)
    teacher = {"type": "stored", "id": "tch_1", "classes": classes}
    parts = wired(
        job(teachers=taught, teacher=teacher, loss={"type": "kd", "T": 2, "weight": 1}, hard=0), tmp_path / "work"
    )
    taken = parts.splits["train"].take(torch.arange(60))
    assert parts.teacher is not None
    said = parts.teacher(taken)
    net = parts.student.tapped(parts.student.network())
    objective = parts.student.objective(net)
    student = net(parts.view(taken.raw))
    student.logits.retain_grad()
    loss, _ = objective(student, said, Batch(taken.y, taken.ids))
    loss.backward()
    gradient = student.logits.grad
    assert gradient is not None

    y = taken.y.numpy()
    known = np.isin(y, [7, 1, 4])
    assert 5 < known.sum() < 55
    z_s, z_t = (x.detach().double().numpy() / 2 for x in (student.logits[:, [1, 4, 7]], said.logits[:, [1, 2, 0]]))
    p_s, p_t = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (z_s, z_t))
    value = 4 * (p_t * (np.log(p_t) - np.log(p_s))).sum(1)[known].mean()
    assert loss.item() == pytest.approx(value, rel=1e-4)
    expected = np.zeros((60, 10))
    expected[:, [1, 4, 7]] = known[:, None] * 2 * (p_s - p_t) / known.sum()
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-6)
    assert not gradient[~torch.from_numpy(known)].any()


def test_it_is_scored_on_the_rows_of_its_classes(job: Job, few_teacher: Taught, tmp_path: Path) -> None:
    teacher = {"type": "stored", "id": "tch_1", "classes": BY_HAND}
    trained = run(job(teachers=few_teacher, teacher=teacher, train={"epochs": 10}, hard=1.0), tmp_path / "work")
    test = trained.report["test"]
    assert test["teacher"]["accuracy"] > 0.9
    parts = trained.parts
    split = parts.splits["test"]
    assert parts.teacher is not None
    theirs = parts.teacher(split.take(torch.arange(len(split)))).logits[:, [1, 2, 0]].argmax(1)
    chosen = trained.results.student.selected.test_logits
    assert chosen is not None
    rows = torch.isin(split.y, torch.tensor([1, 4, 7]))
    agreed = (chosen[:, [1, 4, 7]].argmax(1) == theirs)[rows].double().mean()
    assert test["agreement"] == pytest.approx(float(agreed))
    assert test["student"]["accuracy"] > 0.5, "the label loss teaches all ten"


def test_without_a_map_a_comparison_is_refused(job: Job, few_teacher: Taught, tmp_path: Path) -> None:
    with pytest.raises(UserConfig, match="4 outputs and the data set 10") as caught:
        wired(job(teachers=few_teacher), tmp_path / "work")
    assert (caught.value.errors[0].pointer, caught.value.code) == ("/teacher", "class_count_differs")


@pytest.mark.parametrize(
    ("classes", "pointer", "says"),
    [
        ({"7": "sevn", "1": "one"}, "/teacher/classes/7", "did you mean `seven`"),
        ({"seven": "seven", "1": "one"}, "/teacher/classes/seven", "the data set has no class `seven`"),
        ({"7": "seven", "1": "seven"}, "/teacher/classes/1", "stands for both"),
        ("by_name", "/teacher/classes", "has 0 of the data set's classes"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    job: Job, few_teacher: Taught, tmp_path: Path, classes: Any, pointer: str, says: str
) -> None:
    order = job(teachers=few_teacher, teacher={"type": "stored", "id": "tch_1", "classes": classes})
    with pytest.raises(UserConfig, match=says) as caught:
        wired(order, tmp_path / "work")
    assert (caught.value.errors[0].pointer, caught.value.code) == (pointer, "class_map")


def test_a_teacher_that_does_not_name_its_classes_is_mapped_by_place(
    job: Job, row_teacher: Taught, tmp_path: Path
) -> None:
    with pytest.raises(UserConfig, match="does not say how its classes are called"):
        wired(job("a", teacher={"type": "stored", "id": "tch_1", "classes": "by_name"}), tmp_path / "a")
    places = {"type": "stored", "id": "tch_1", "classes": {str(digit): str(digit) for digit in range(10)}}
    assert same(run(job("b"), tmp_path / "b").weights, run(job("c", teacher=places), tmp_path / "c").weights)


def test_teachers_with_too_few_classes_in_common_cannot_be_combined(
    job: Job, few_teacher: Taught, row_teacher: Taught, tmp_path: Path
) -> None:
    members = [{**STORED[0], "classes": {"7": "seven", "1": "one"}}, {**STORED[1], "classes": {"7": "7", "4": "4"}}]
    teachers = {"tch_1": few_teacher, "tch_2": row_teacher}
    order = job(teachers=teachers, teacher={"type": "ensemble", "teachers": members})
    with pytest.raises(UserConfig, match="1 classes in common") as caught:
        wired(order, tmp_path / "work")
    assert caught.value.errors[0].pointer == "/teacher/teachers"


def test_teachers_with_some_classes_in_common_are_combined_in_these(
    job: Job, few_teacher: Taught, row_teacher: Taught, tmp_path: Path
) -> None:
    members = [{**STORED[0], "classes": BY_HAND}, STORED[1]]
    teachers = {"tch_1": few_teacher, "tch_2": row_teacher}
    parts = wired(job(teachers=teachers, teacher={"type": "ensemble", "teachers": members}), tmp_path / "work")
    taken = parts.splits["train"].take(torch.arange(20))
    assert parts.teacher is not None
    said = parts.teacher(taken, exact=True)
    one, other = said.members["tch_1"].logits, said.members["tch_2"].logits
    torch.testing.assert_close(said.logits, (one[:, [1, 2, 0]] + other[:, [1, 4, 7]]) / 2)

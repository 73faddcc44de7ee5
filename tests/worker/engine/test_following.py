"""Teachers that are made of the student: its running average, and how it was some epochs ago."""

from pathlib import Path
from typing import Any

import torch

from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from tests.worker.engine.test_resume import same
from worker.engine.following import AverageTeacher, SnapshotTeacher
from worker.engine.loop import Run
from worker.engine.networks import evaluating
from worker.engine.training import make_run
from worker.engine.wiring import Parts, wire

TERMS = [{"type": "kd"}, {"type": "hint"}, {"type": "similarity"}]


def started(order: Any, folder: Path) -> tuple[Parts, Run]:
    parts = wire(order, folder, torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    torch.manual_seed(0)
    return parts, run_


def answer_of(run_: Run, weights: dict[str, torch.Tensor], parts: Parts) -> torch.Tensor:
    """What a student with these weights says of the dry batch, in evaluation mode."""
    module = parts.student.with_weights(weights).module
    with evaluating(module):
        found: torch.Tensor = module(parts.student.bench.x)
    return found


def test_the_average_is_that_of_float64_after_every_step(small: Make, tmp_path: Path) -> None:
    decay = 0.3  # reached at the third step: the ramp and the constant part are both seen
    train = {"optimizer": {"type": "sgd", "lr": 0.5}, "augment": "none"}
    parts, run_ = started(small(teacher={"type": "ema", "decay": decay}, loss=TERMS, train=train), tmp_path / "work")
    teacher, student = run_._following, run_.learners[0].net.module
    assert isinstance(teacher, AverageTeacher)
    expected = {name: x.double() for name, x in student.state_dict().items()}
    step = 0

    def compare() -> None:
        nonlocal step
        step += 1
        share = min(decay, (1 + step) / (10 + step))
        for name, x in student.state_dict().items():
            expected[name] = share * expected[name] + (1 - share) * x.double() if x.is_floating_point() else x.double()
        found = teacher._average.module.state_dict()
        for name, x in expected.items():
            torch.testing.assert_close(found[name].double(), x, rtol=1e-5, atol=1e-6)
        said = teacher(parts.student.bench.rows)
        weights = {name: x.to(found[name].dtype) for name, x in expected.items()}
        torch.testing.assert_close(said.logits, answer_of(run_, weights, parts), rtol=1e-3, atol=1e-4)
        assert not said.logits.requires_grad
        assert not teacher._average.module.training

    for _ in range(4):
        run_.train_epoch(compare)
        run_.finish_epoch([{}])
    assert step == 12
    assert any(not torch.equal(expected[name].float(), x) for name, x in student.state_dict().items())


def test_the_average_gets_no_gradient_and_the_student_does_not_notice_its_copy(small: Make, tmp_path: Path) -> None:
    parts, run_ = started(small(teacher={"type": "ema"}, loss=TERMS), tmp_path / "work")
    teacher = run_._following
    assert isinstance(teacher, AverageTeacher)
    run_.train_epoch(lambda: None)
    assert all(p.grad is None and not p.requires_grad for p in teacher._average.module.parameters())
    trained = set(map(id, run_.learners[0]._trained))
    assert trained.isdisjoint(map(id, teacher._average.module.parameters()))
    # Each of the two keeps its own features: what one computes is not handed out by the other.
    said = run_.learners[0].answer(parts.student.bench.x)
    teacher(parts.student.bench.rows)
    assert said.features["hidden.0"].requires_grad


def test_before_the_first_snapshot_the_student_is_its_control_and_then_no_more(small: Make, tmp_path: Path) -> None:
    order = small(teacher={"type": "snapshot", "every": 2}, loss={"type": "kd"}, train={"epochs": 4})
    run(order, tmp_path / "work")
    lines = orders.events(tmp_path / "work", "metrics")
    student, control = ([line for line in lines if line["run"] == name] for name in ("student", "control"))
    for epoch in range(2):
        assert student[epoch]["val"] == control[epoch]["val"]
        assert student[epoch]["train"]["loss"] == control[epoch]["train"]["loss"]
        assert student[epoch]["train"]["kd"] == 0
    assert student[2]["train"]["kd"] > 0
    assert student[3]["val"] != control[3]["val"]


def test_a_snapshot_is_the_student_at_the_end_of_the_epoch(small: Make, tmp_path: Path) -> None:
    train = {"optimizer": {"type": "sgd", "lr": 0.3}, "epochs": 9}
    order = small(teacher={"type": "snapshot", "every": 2}, loss=TERMS, train=train)
    parts, run_ = started(order, tmp_path / "work")
    teacher, student = run_._following, run_.learners[0].net.module
    assert isinstance(teacher, SnapshotTeacher)
    taken: list[dict[str, torch.Tensor]] = []
    for epoch in range(1, 6):
        run_.train_epoch(lambda: None)
        if epoch % 2 == 0:
            taken.append({name: x.clone() for name, x in student.state_dict().items()})
        run_.finish_epoch([{}])
        said = teacher(parts.student.bench.rows)
        if epoch == 1:
            assert said is None
            continue
        assert said is not None
        assert torch.equal(said.logits, answer_of(run_, taken[-1], parts))
        assert set(said.features) == {"hidden.0", "hidden.1"}
        assert said.embedding is not None
        assert not said.logits.requires_grad
    assert not same(taken[0], taken[1])


def test_a_teacher_that_moves_is_asked_for_every_batch(small: Make, tmp_path: Path) -> None:
    run(small(teacher={"type": "ema"}), tmp_path / "work")
    assert {"phase": "caching"} not in orders.events(tmp_path / "work", "phase")

"""A student whose last layers teach its stages through exits."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.worker.engine.conftest import Make, run
from worker.engine.exits import BranchObjective, Exits
from worker.engine.outputs import Outputs
from worker.engine.training import make_run
from worker.engine.wiring import wire

STUDENT = {"type": "mlp", "hidden": [16, 14, 12]}


def test_exits_read_maps_sequences_and_vectors() -> None:
    dry = Outputs(
        torch.zeros(2, 5), {"map": torch.rand(2, 3, 4, 4), "tokens": torch.rand(2, 7, 6), "row": torch.rand(2, 8)}
    )
    exits = Exits(["map", "tokens", "row"], dry)
    assert [head.in_features for head in exits.heads] == [3, 6, 8]
    features = {name: x.half() for name, x in dry.features.items()}
    answers = exits(features)
    assert [(tuple(answer.shape), answer.dtype) for answer in answers] == [((2, 5), torch.float32)] * 3
    pooled = (features["map"].float().mean((2, 3)), features["tokens"].float().mean(1), features["row"].float())
    for head, x, answer in zip(exits.heads, pooled, answers, strict=True):
        torch.testing.assert_close(head(x), answer)


def test_the_loss_is_that_of_the_student_and_of_its_exits(small: Make, tmp_path: Path) -> None:
    order = small(teacher={"type": "branches"}, student=STUDENT, loss={"type": "kd", "T": 2}, hard=0.3)
    parts = wire(order, tmp_path / "work", torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    (learner,) = run_.learners
    assert isinstance(learner.objective, BranchObjective)
    assert learner.objective.exits.stages == ["hidden.0", "hidden.1"]
    x, batch, _ = run_.feed(torch.arange(40), 0, 0.0)
    said = learner.answer(x)
    loss, values = learner.objective(said, None, batch)
    expected, p = F.cross_entropy(said.logits, batch.y), (said.logits / 2).softmax(1)
    for answer in learner.objective.exits(said.features):
        kd = 4 * (p * (p.log() - (answer / 2).log_softmax(1))).sum(1).mean()
        expected = expected + 0.3 * F.cross_entropy(answer, batch.y) + 0.9 * kd
    torch.testing.assert_close(loss, expected)
    assert len(values) == len(learner.objective.names)
    assert learner.objective.names[-2:] == ["accuracy@hidden.0", "accuracy@hidden.1"]


def test_the_last_layer_learns_from_labels_alone_and_exits_are_trained(small: Make, tmp_path: Path) -> None:
    """What the exits say of the student is detached from it: its head has the gradient of the plain label loss."""
    order = small(teacher={"type": "branches"}, student=STUDENT)
    parts = wire(order, tmp_path / "work", torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    (learner,) = run_.learners
    assert isinstance(learner.objective, BranchObjective)
    x, batch, _ = run_.feed(torch.arange(40), 0, 0.0)
    said = learner.answer(x)
    head = learner.net.module.get_parameter("head.weight")
    alone = torch.autograd.grad(F.cross_entropy(said.logits, batch.y), head, retain_graph=True)
    loss, _ = learner.objective(said, None, batch)
    together = torch.autograd.grad(loss, [head, *learner.objective.exits.parameters()])
    torch.testing.assert_close(together[0], alone[0])
    assert all(bool(grad.any()) for grad in together[1:])
    assert set(map(id, learner.objective.exits.parameters())) <= set(map(id, learner._trained))


def test_exits_are_scored_and_stay_behind(small: Make, tmp_path: Path) -> None:
    train = {"epochs": 20, "optimizer": {"type": "adam", "lr": 0.01}}
    order = small(teacher={"type": "branches"}, student=STUDENT, hard=1, train=train)
    trained = run(order, tmp_path / "work")
    assert set(trained.weights) == set(trained.parts.student.start.module.state_dict())
    report = trained.report
    for which in ("best", "last"):
        exits = report["runs"]["student"][which]["exits"]
        assert list(exits) == ["hidden.0", "hidden.1"]
        assert all(set(figures) == {"val", "test"} for figures in exits.values())
    assert exits["hidden.0"]["test"]["accuracy"] > 0.3, "far better than a guess"
    assert "exits" not in report["runs"]["control"]["last"]
    done = trained.attempt.finished["student"]
    module = trained.parts.student.with_exits(done.last, done.beside)
    split = trained.parts.splits["test"]
    with torch.no_grad():
        module.eval()
        answers = module(trained.parts.view(split.take(torch.arange(len(split))).raw))
    shares = (answers.argmax(2) == split.y[:, None]).double().mean(0).tolist()
    assert shares == pytest.approx([figures["test"]["accuracy"] for figures in exits.values()])

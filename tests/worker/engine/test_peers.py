"""Students that learn from each other: side by side, and apart."""

import json
from pathlib import Path

import torch

from models.work import Exit
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from worker.engine.run import main
from worker.engine.together import MutualObjective
from worker.engine.training import make_run
from worker.engine.wiring import wire

PEERS = {
    "type": "peers",
    "students": [{"type": "mlp", "hidden": [20]}, {"type": "mlp", "hidden": [14, 10], "dropout": 0.2}],
}
TERMS = [{"type": "kd", "T": 2}, {"type": "hint"}, {"type": "similarity"}]


def test_no_gradient_leaks_from_one_peer_to_another(small: Make, tmp_path: Path) -> None:
    parts = wire(small(teacher=PEERS, loss=TERMS, train={"augment": "none"}), tmp_path / "work", torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    x, batch, teacher = run_.feed(torch.arange(40), 0, 0.0)
    assert teacher is None
    said = [learner.answer(x) for learner in run_.learners]
    for at, learner in enumerate(run_.learners):
        heard = run_._heard(at, said, None)
        assert heard is not None
        assert set(heard.members) == {other.name for other in run_.learners} - {learner.name}
        loss, _ = learner.objective(said[at], heard, batch)
        for place, other in enumerate(run_.learners):
            grads = torch.autograd.grad(loss, other._trained, retain_graph=True, allow_unused=True)
            if place == at:
                assert all(grad is not None for grad in grads)
                assert any(bool(grad.any()) for grad in grads if grad is not None)
            else:
                assert all(grad is None for grad in grads), f"{learner.name} moves {other.name}"


def test_the_loss_is_hard_and_the_mean_over_the_others_of_the_terms(small: Make, tmp_path: Path) -> None:
    parts = wire(small(teacher=PEERS, loss={"type": "kd", "T": 2}, hard=0.3), tmp_path / "work", torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    x, batch, _ = run_.feed(torch.arange(40), 0, 0.0)
    said = [learner.answer(x) for learner in run_.learners]
    learner = run_.learners[1]
    loss, _ = learner.objective(said[1], run_._heard(1, said, None), batch)
    hard = torch.nn.functional.cross_entropy(said[1].logits, batch.y)
    kd = [
        4 * (p * (p.log() - (said[1].logits / 2).log_softmax(1))).sum(1).mean()
        for p in ((said[at].logits / 2).softmax(1) for at in (0, 2))
    ]
    torch.testing.assert_close(loss, 0.3 * hard + 0.9 * (kd[0] + kd[1]) / 2)


def test_projectors_are_a_peers_own_for_each_other(small: Make, tmp_path: Path) -> None:
    parts = wire(small(teacher=PEERS, loss=TERMS), tmp_path / "work", torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    parameters = [set(map(id, learner.objective.parameters())) for learner in run_.learners]
    assert all(isinstance(learner.objective, MutualObjective) for learner in run_.learners)
    assert not parameters[0] & parameters[1]
    assert not parameters[1] & parameters[2]
    assert all(parameters)


def test_all_see_the_same_batches_and_speak_before_any_of_them_steps(small: Make, tmp_path: Path) -> None:
    """Two peers of one start would stay one: what each hears is what the other said before the step."""
    same = {"type": "peers", "students": [{"type": "mlp", "hidden": [16]}]}
    parts = wire(small(teacher=same, student={"type": "mlp", "hidden": [16]}), tmp_path / "work", torch.device("cpu"))
    run_ = make_run(parts, parts.syllabus.groups[0])
    one, two = (learner.net.module for learner in run_.learners)
    assert not torch.equal(*(module.get_parameter("head.weight") for module in (one, two))), "they start apart"
    two.load_state_dict(one.state_dict())
    run_.train_epoch(lambda: None)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_peers_are_handed_out_and_reported(small: Make, tmp_path: Path) -> None:
    small(teacher=PEERS, loss=TERMS)
    assert main(tmp_path / "work") == Exit.DONE
    out = tmp_path / "work" / "out"
    assert {"student.pth", "peer_1.pth", "peer_2.pth"} <= {path.name for path in out.iterdir()}
    assert {"peer_1.pth", "peer_2.pth"} <= set(json.loads((out / "manifest.json").read_text())["files"])
    report = orders.report_of(tmp_path / "work")
    assert [stage["name"] for stage in report["stages"]] == ["peer_1", "peer_2"]
    assert report["stages"][0]["taught_by"] == ["student", "peer_2"]
    assert all("accuracy" in stage["last"]["test"] for stage in report["stages"])
    assert set(report["taps"]) == {"hint@peer_1", "hint@peer_2"}
    lines = orders.events(tmp_path / "work", "metrics")
    assert [line["run"] for line in lines[:3]] == ["student", "peer_1", "peer_2"]


def test_the_student_says_when_to_stop_early(small: Make, tmp_path: Path) -> None:
    train = {"epochs": 30, "early_stopping": {"patience": 1, "min_delta": 0.5}, "control": False}
    trained = run(small(teacher=PEERS, train=train), tmp_path / "work")
    epochs = {name: len(done.trail.epochs) for name, done in trained.attempt.finished.items()}
    assert len(set(epochs.values())) == 1
    assert epochs["student"] < 30

"""Terms wired to the networks at hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserConfig
from models.canonical import Target
from models.spec.job import JobSpec
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, Taught
from worker.engine.objective import hard_alone, make_objective, needs, term_names
from worker.engine.outputs import Batch, Outputs
from worker.engine.task import Task, make_task
from worker.engine.wiring import Parts, wire

CPU = torch.device("cpu")


def task() -> Task:
    spec = JobSpec.model_validate(orders.spec())
    return make_task(orders.digits()[1], spec.train)


def losses(*terms: dict[str, Any]) -> list[Any]:
    return list(JobSpec.model_validate(orders.spec(loss=list(terms))).loss)


def outputs(seed: int, *, grad: bool = False) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_(grad)

    return Outputs(draw(6, 10), {"s": draw(6, 3)}, draw(6, 5))


PAIR = [{"student": "s", "teacher": "s"}]
BATCH = Batch(torch.tensor([1, 2, 3, 4, 5, 6]), torch.arange(6))


def test_the_loss_is_the_weighted_sum_of_the_label_loss_and_the_terms() -> None:
    specs = losses({"type": "kd", "T": 2, "weight": 0.5}, {"type": "similarity", "weight": 3})
    objective = make_objective(task(), 0.25, specs, outputs(0), outputs(1), 6)
    loss, values = objective(outputs(0), outputs(1), BATCH)
    assert objective.names == ["loss", "hard", "kd", "similarity", "accuracy"]
    found = dict(zip(objective.names, values.tolist(), strict=True))
    assert found["loss"] == pytest.approx(0.25 * found["hard"] + 0.5 * found["kd"] + 3 * found["similarity"])
    assert loss.item() == pytest.approx(found["loss"])
    assert found["hard"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(outputs(0).logits, BATCH.y)), rel=1e-5
    )


def test_terms_of_one_kind_are_numbered() -> None:
    kinds: list[dict[str, Any]] = [
        {"type": "kd"},
        {"type": "logits_mse"},
        {"type": "kd", "T": 2},
        {"type": "kd", "T": 8},
    ]
    assert term_names(losses(*kinds)) == ["kd", "logits_mse", "kd_2", "kd_3"]


def test_no_gradient_goes_to_a_teacher_that_is_asked_as_the_engine_asks(make: Make, tmp_path: Path) -> None:
    make(loss=[{"type": "kd"}, {"type": "hint"}, {"type": "similarity"}, {"type": "logits_mse"}])
    parts = parts_of(tmp_path)
    student = parts.student.tapped(parts.student.network())
    objective = parts.student.objective(student)
    before = [p.clone() for p in student.module.parameters()]
    rows = parts.splits["train"].take(torch.arange(8))
    said = parts.teacher(rows)
    assert not said.logits.requires_grad
    loss, _ = objective(student(parts.view(rows.raw)), said, Batch(rows.y, rows.ids))
    loss.backward()
    assert all(p.grad is not None for p in student.module.parameters())
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, student.module.parameters(), strict=True))


def parts_of(folder: Path) -> Parts:
    from models.work import WorkOrder

    order = WorkOrder.model_validate_json((folder / "work" / "job.json").read_bytes())
    return wire(order, folder / "work", CPU)


def test_a_weight_of_0_leaves_a_term_out_of_the_loss_and_still_reports_it() -> None:
    specs = losses({"type": "kd", "weight": 0})
    objective = make_objective(task(), 1.0, specs, outputs(0), outputs(1), 6)
    teacher = outputs(1)
    teacher.logits[0, 0] = torch.inf  # 0 times this would be no number
    student = outputs(0, grad=True)
    loss, values = objective(student, teacher, BATCH)
    assert loss.isfinite()
    assert not values[2].isfinite()


def test_needs_are_read_off_the_menu() -> None:
    taps = [{"student": "a", "teacher": "b"}, {"student": "a", "teacher": "c"}]
    specs = losses({"type": "hint", "taps": taps}, {"type": "kd"})
    assert needs(specs, "student").taps == ["a"]
    assert needs(specs, "teacher").taps == ["b", "c"]
    assert not needs(specs, "student").embedding
    assert needs(losses({"type": "distance"}), "student").embedding


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_an_unknown_tap_points_to_its_field_and_lists_the_stages(make: Make, tmp_path: Path, side: str) -> None:
    pair = {"student": "hidden.0", "teacher": "layer1", side: "layer1x"}
    make(loss=[{"type": "kd"}, {"type": "hint", "taps": [{"student": "hidden.0", "teacher": "layer3"}, pair]}])
    with pytest.raises(UserConfig) as caught:
        parts_of(tmp_path)
    assert caught.value.code == "unknown_tap"
    assert caught.value.errors[0].pointer == f"/loss/1/taps/1/{side}"
    assert ("hidden.0" if side == "student" else "layer1, layer2, layer3") in caught.value.detail


def test_taps_that_cannot_be_compared_point_to_their_field() -> None:
    specs = losses({"type": "kd"}, {"type": "hint", "taps": [{"student": "s", "teacher": "s"}]})
    sequence = outputs(1)
    sequence.features["s"] = torch.zeros(6, 4, 3)
    with pytest.raises(UserConfig) as caught:
        make_objective(task(), 1.0, specs, outputs(0), sequence, 6)
    assert caught.value.errors[0].pointer == "/loss/1/taps/0"


@pytest.mark.parametrize(("kind", "size"), [("similarity", 1), ("distance", 2), ("crd", 1)])
def test_a_batch_that_is_too_small_for_a_term_is_refused(kind: str, size: int) -> None:
    with pytest.raises(UserConfig, match="at least") as caught:
        make_objective(task(), 1.0, losses({"type": kind}), outputs(0), outputs(1), size)
    assert caught.value.errors[0].pointer == "/train/batch_size"


def test_a_term_that_has_no_room_for_the_training_rows_points_to_its_field() -> None:
    specs = losses({"type": "kd"}, {"type": "crd", "form": "bank", "dim": 4096})
    objective = make_objective(task(), 1.0, specs, outputs(0), outputs(1), 6)
    with pytest.raises(UserConfig) as caught:
        objective.prepare(torch.arange(100_000))
    assert caught.value.errors[0].pointer == "/loss/1/dim"


def test_no_pair_of_stages_is_an_error_that_says_so(tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    student = {"type": "mlp", "hidden": []}
    orders.make_workdir(tmp_path / "work", digits, image_teacher, orders.spec(student=student, loss={"type": "hint"}))
    with pytest.raises(UserConfig, match="no stage of the student") as caught:
        parts_of(tmp_path)
    assert caught.value.errors[0].pointer == "/loss/0/taps"


def test_auto_pairs_are_what_the_report_names(make: Make, tmp_path: Path) -> None:
    make(student={"type": "resnet", "depth": 14}, loss={"type": "hint"})
    (term,) = parts_of(tmp_path).student.heard["teacher"].terms
    assert [(pair.student, pair.teacher) for pair in term.taps] == [  # type: ignore[attr-defined]
        ("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3"),
    ]  # fmt: skip


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize(
    "terms", [[{"type": "kd", "weight": 0.5}], [{"type": "kd", "weight": 0}, {"type": "kd", "T": 2}]]
)
def test_a_gradient_by_formula_is_that_of_the_graph(terms: list[dict[str, Any]], share: float) -> None:
    objective = make_objective(task(), 0.25, losses(*terms), outputs(0), outputs(1), 6)
    by_graph, by_formula = outputs(0, grad=True), outputs(0, grad=True)
    loss, values = objective(by_graph, outputs(1), BATCH)
    (loss * share).backward()
    left = objective.learn(by_formula, outputs(1), BATCH, share)
    assert isinstance(left, tuple), "the graph was taken"
    torch.testing.assert_close(by_formula.logits.grad, by_graph.logits.grad)
    torch.testing.assert_close(objective.figures([left, left]).float(), torch.stack([values, values]))


@pytest.mark.parametrize("terms", [[{"type": "kd"}], [{"type": "kd", "standardize": True}]])
def test_a_network_that_has_a_formula_is_told_the_gradient_on_its_logits(terms: list[dict[str, Any]]) -> None:
    objective = make_objective(task(), 0.25, losses(*terms), outputs(0), outputs(1), 6)
    by_graph, said = outputs(0, grad=True), outputs(0, grad=True)
    told: list[torch.Tensor] = []
    said.add_gradient = told.append
    objective(by_graph, outputs(1), BATCH)[0].mul(0.5).backward()
    objective.learn(said, outputs(1), BATCH, 0.5)
    torch.testing.assert_close(told, [by_graph.logits.grad])


def test_without_a_teacher_the_label_loss_alone_is_learned() -> None:
    objective = hard_alone(task())
    by_graph, by_formula = outputs(0, grad=True), outputs(0, grad=True)
    loss, values = objective(by_graph, None, BATCH)
    loss.backward()
    left = objective.learn(by_formula, None, BATCH, 1.0)
    assert isinstance(left, tuple), "the graph was taken"
    torch.testing.assert_close(objective.figures([left])[0].float(), values)
    torch.testing.assert_close(by_formula.logits.grad, by_graph.logits.grad)


@pytest.mark.parametrize("weighted", [Batch(BATCH.y, BATCH.ids, torch.arange(6.0)), BATCH])
def test_where_weights_differ_the_graph_is_taken(weighted: Batch) -> None:
    objective = make_objective(task(), 0.25, losses({"type": "kd"}), outputs(0), outputs(1), 6)
    teacher = outputs(1)
    teacher.weight = None if weighted.weight is not None else torch.tensor([1.0, 0, 0, 1, 1, 1])
    by_graph, learned = outputs(0, grad=True), outputs(0, grad=True)
    loss, _ = objective(by_graph, teacher, weighted)
    loss.backward()
    assert isinstance(objective.learn(learned, teacher, weighted, 1.0), torch.Tensor)
    torch.testing.assert_close(learned.logits.grad, by_graph.logits.grad, rtol=0, atol=0)


def test_figures_of_steps_of_every_kind_keep_their_order() -> None:
    objective = make_objective(task(), 0.25, losses({"type": "kd"}), outputs(0), outputs(1), 6)
    few = Outputs(outputs(2).logits[:4]), Outputs(outputs(3).logits[:4]), Batch(BATCH.y[:4], BATCH.ids[:4])
    expected = [objective(outputs(0), outputs(1), BATCH)[1], objective(*few)[1], objective(outputs(0), None, BATCH)[1]]
    left = [
        objective.learn(outputs(0, grad=True), outputs(1), BATCH, 1.0),
        objective.learn(Outputs(few[0].logits.requires_grad_()), few[1], few[2], 1.0),
        objective.learn(outputs(0, grad=True), None, BATCH, 1.0),
    ]
    assert all(isinstance(each, tuple) for each in left)
    weight = torch.ones(6)
    left.append(objective.learn(outputs(0, grad=True), outputs(1), replace(BATCH, weight=weight), 1.0))
    assert isinstance(left[-1], torch.Tensor)
    expected.append(expected[0])
    torch.testing.assert_close(objective.figures(left).float(), torch.stack(expected))


def test_while_nobody_teaches_projectors_hold_still_and_the_labels_are_learned() -> None:
    objective = make_objective(task(), 0.25, losses({"type": "hint", "taps": PAIR}), outputs(0), outputs(1), 6)
    by_graph, by_formula = outputs(0, grad=True), outputs(0, grad=True)
    loss, values = objective(by_graph, None, BATCH)
    loss.backward()
    left = objective.learn(by_formula, None, BATCH, 1.0)
    torch.testing.assert_close(by_formula.logits.grad, by_graph.logits.grad)
    torch.testing.assert_close(objective.figures([left])[0].float(), values)
    assert list(objective.parameters())
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())


def test_a_regression_learns_by_formula_as_well() -> None:
    data = orders.digits()[1].model_copy(
        update={"task": "tabular_regression", "target": Target(name="t", mean=0.0, std=1.0), "num_outputs": 1}
    )
    regression = make_task(data, JobSpec.model_validate(orders.spec()).train)
    batch = Batch(torch.arange(6.0), torch.arange(6))
    by_graph, by_formula = (Outputs(outputs(0).logits[:, :1].clone().requires_grad_()) for _ in range(2))
    objective = hard_alone(regression)
    loss, values = objective(by_graph, None, batch)
    loss.backward()
    left = objective.learn(by_formula, None, batch, 1.0)
    torch.testing.assert_close(by_formula.logits.grad, by_graph.logits.grad)
    torch.testing.assert_close(objective.figures([left])[0].float(), values)

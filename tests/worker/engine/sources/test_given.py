"""Outputs that were given for all rows or for some."""

from pathlib import Path

import pytest
import torch

from core.errors import UserConfig, UserInput
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught, run
from tests.worker.engine.sources.conftest import Job, same, wired
from worker.engine import cache
from worker.engine.attempt import fingerprint
from worker.engine.evaluate import batch_rows
from worker.engine.outputs import Batch

Outputs = dict[str, orders.Given]

CPU = torch.device("cpu")
GIVEN = {"type": "outputs", "dataset": "dst_9"}


def outputs_of(job: Job, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What the stored teacher says of the training rows, as a job keeps it, and which rows these are."""
    parts = wired(job("stored"), folder / "stored")
    split = parts.splits["train"]
    assert parts.teacher is not None
    kept = cache.Filling(parts.teacher, split, cache.Way(batch_rows(64), CPU), lambda: None).kept()
    return kept.outputs.logits, split.ids.clone()


def test_outputs_that_a_stored_teacher_gave_make_the_same_student(job: Job, tmp_path: Path) -> None:
    logits, rows = outputs_of(job, tmp_path)
    stored = run(job("stored"), tmp_path / "stored")
    given = run(job("given", teachers={}, teacher=GIVEN, outputs={"dst_9": (logits, rows, [])}), tmp_path / "given")
    assert same(stored.weights, given.weights)
    assert given.report["test"]["teacher"] is None, "they were given for training rows"
    assert given.report["test"]["agreement"] is None


def test_outputs_may_be_given_for_rows_of_every_split(job: Job, rows: Data, tmp_path: Path) -> None:
    y = rows[0]["y"]
    logits = 6 * torch.nn.functional.one_hot(y, 10) + torch.randn(len(y), 10)
    given: Outputs = {"dst_9": (logits.float(), torch.arange(len(y)), [])}
    report = run(job(teachers={}, teacher=GIVEN, outputs=given), tmp_path / "work").report
    assert report["val"]["teacher"]["accuracy"] > 0.9
    assert report["test"]["teacher"]["accuracy"] > 0.9
    assert report["test"]["agreement"] > 0.2


@pytest.mark.parametrize("kind", ["kd", "dist", "logits_mse", "dkd", "mlkd"])
def test_rows_without_outputs_get_no_gradient_from_a_term(job: Job, tmp_path: Path, kind: str) -> None:
    logits, rows = outputs_of(job, tmp_path)
    given: Outputs = {"dst_9": (logits[::2], rows[::2], [])}
    order = job("given", teachers={}, teacher=GIVEN, outputs=given, loss={"type": kind}, hard=0)
    parts = wired(order, tmp_path / "given")
    taken = parts.splits["train"].take(torch.arange(40))
    assert parts.teacher is not None
    said = parts.teacher(taken)
    wired_student = parts.student
    net = wired_student.tapped(wired_student.network())
    objective = wired_student.objective(net)
    student = net(parts.view(taken.raw))
    student.logits.retain_grad()
    loss, _ = objective(student, said, Batch(taken.y, taken.ids))
    loss.backward()
    gradient = student.logits.grad
    assert gradient is not None
    assert not gradient[1::2].any()
    assert gradient[::2].abs().sum(1).gt(0).all()


def test_rows_without_outputs_are_trained_by_their_labels(job: Job, tmp_path: Path) -> None:
    logits, rows = outputs_of(job, tmp_path)
    given: Outputs = {"dst_9": (logits[:1], rows[:1], [])}
    order = job(
        "given", teachers={}, teacher=GIVEN, outputs=given, train={"epochs": 12}, hard=1.0, allow_weak_teacher=True
    )
    assert run(order, tmp_path / "given").report["test"]["student"]["accuracy"] > 0.6
    (notice,) = orders.events(tmp_path / "given", "notice")
    assert notice["message"].startswith("the teacher of dst_9 speaks of 1 of 300 training rows")


def test_a_partial_teacher_among_others_counts_where_it_has_answered(
    job: Job, two: dict[str, Taught], tmp_path: Path
) -> None:
    logits, rows = outputs_of(job, tmp_path)
    ensemble = {"type": "ensemble", "teachers": ["tch_2", GIVEN], "combine": "weights", "weights": [1, 3]}
    given: Outputs = {"dst_9": (logits[::2], rows[::2], [])}
    order = job("both", teachers={"tch_2": two["tch_2"]}, teacher=ensemble, outputs=given)
    parts = wired(order, tmp_path / "both")
    taken = parts.splits["train"].take(torch.arange(40))
    assert parts.teacher is not None
    said = parts.teacher(taken)
    other = wired(job("o", teachers={"tch_2": two["tch_2"]}, teacher="tch_2"), tmp_path / "o").teacher
    assert other is not None
    of_other = other(taken).logits
    torch.testing.assert_close(said.logits[1::2], of_other[1::2])
    torch.testing.assert_close(said.logits[::2], 0.25 * of_other[::2] + 0.75 * logits[:40:2])
    assert said.weight is not None
    assert said.weight.eq(1).all()


def test_outputs_of_other_rows_are_found(job: Job, tmp_path: Path) -> None:
    logits, rows = outputs_of(job, tmp_path)
    shifted: Outputs = {"dst_9": (logits.roll(1, 0), rows, [])}
    with pytest.raises(UserInput, match=r"the teacher of dst_9 has .* training samples .* other rows") as caught:
        run(job("given", teachers={}, teacher=GIVEN, outputs=shifted), tmp_path / "given")
    assert caught.value.code == "weak_teacher"


def test_outputs_of_no_training_row_are_refused(job: Job, rows: Data, tmp_path: Path) -> None:
    held_back = (rows[0]["split"] != 0).nonzero()[:, 0]
    given: Outputs = {"dst_9": (torch.zeros(len(held_back), 10), held_back, [])}
    with pytest.raises(UserConfig, match="has outputs of no training row") as caught:
        wired(job("given", teachers={}, teacher=GIVEN, outputs=given), tmp_path / "given")
    assert caught.value.errors[0].pointer == "/teacher/dataset"


def test_rows_beyond_the_data_set_are_refused(job: Job, tmp_path: Path) -> None:
    logits, rows = outputs_of(job, tmp_path)
    beyond: Outputs = {"dst_9": (logits, torch.cat([rows[:-1], torch.tensor([460])]), [])}
    with pytest.raises(UserConfig, match="are of row 460, and the data set has 460") as caught:
        wired(job("given", teachers={}, teacher=GIVEN, outputs=beyond), tmp_path / "given")
    assert caught.value.errors[0].pointer == "/teacher/dataset"


def test_a_checkpoint_belongs_to_the_outputs_and_teachers_that_it_was_made_with(
    job: Job, two: dict[str, Taught], tmp_path: Path
) -> None:
    logits, rows = outputs_of(job, tmp_path)
    ensemble = {"type": "ensemble", "teachers": ["tch_2", GIVEN]}
    given: Outputs = {"dst_9": (logits, rows, [])}
    order = job("both", teachers={"tch_2": two["tch_2"]}, teacher=ensemble, outputs=given)
    outputs = {"dst_9": order.outputs["dst_9"].model_copy(update={"sha256": "0"})}
    teachers = {"tch_2": order.teachers["tch_2"].model_copy(update={"sha256": "0"})}
    again = order.model_copy(update={"attempt": 2, "threads": 2})
    others = [order.model_copy(update={"outputs": outputs}), order.model_copy(update={"teachers": teachers})]
    assert fingerprint(order) == fingerprint(again)
    assert all(fingerprint(other) != fingerprint(order) for other in others)

"""A job that is stopped anywhere and goes on gives the same bits as one that was never stopped."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserConfig
from models.work import WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, Trained, run
from worker.engine.stop import Stop, Stopped


class StopAt(Stop):
    """Asks to stop at the n-th look: between two steps, or between two batches of an evaluation."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def check(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.requested = True
        super().check()


#: All that has a state: momenta, projectors, banks, averages, dropout, batch statistics, kept sums, augmentation.
RICH: dict[str, Any] = {
    "student": {
        "type": "layers",
        "layers": [
            {"type": "conv", "out": 8},
            {"type": "batch_norm"},
            {"type": "relu"},
            {"type": "max_pool"},
            {"type": "conv", "out": 16},
            {"type": "batch_norm"},
            {"type": "relu"},
            {"type": "global_pool"},
            {"type": "dropout", "p": 0.2},
        ],
    },
    "loss": [{"type": "kd"}, {"type": "hint"}, {"type": "similarity"}, {"type": "crd", "form": "bank", "dim": 8}],
    "train": {
        "epochs": 3,
        "batch_size": 50,
        "accumulate": 2,
        "optimizer": {"type": "adamw", "lr": 0.01},
        "schedule": {"type": "cosine", "warmup_epochs": 0.5},
        "ema": 0.9,
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "augment": {"crop": 1, "flip": True},
        "mixup": 0.4,
    },
}
HALF: dict[str, Any] = {**RICH, "train": {**RICH["train"], "precision": "bf16"}}
PLAIN: dict[str, Any] = {"train": {"epochs": 3, "batch_size": 64}}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def go_through(order: WorkOrder, folder: Path, looks: list[int]) -> tuple[int, Trained]:
    """Attempts that are stopped at these looks, then one that ends; how often it was stopped, and what came of it."""
    stopped = 0
    for at in looks:
        try:
            run(order, folder, StopAt(at))
        except Stopped:
            stopped += 1
    return stopped, run(order, folder)


@pytest.mark.parametrize(("fields", "seed"), [(RICH, 1), (HALF, 2), (PLAIN, 3)], ids=["rich", "bf16", "plain"])
def test_a_stopped_job_gives_the_student_of_another(make: Make, tmp_path: Path, fields: Any, seed: int) -> None:
    whole = run(make("whole", **fields), tmp_path / "whole")
    looks = random.Random(seed).choices(range(2, 45), k=4)
    stopped, pieces = go_through(make("pieces", **fields), tmp_path / "pieces", looks)
    assert stopped >= 2
    assert same(pieces.weights, whole.weights)
    assert pieces.report["test"] == whole.report["test"]
    assert [m["train"] for m in distinct(tmp_path / "pieces")] == [m["train"] for m in distinct(tmp_path / "whole")]


def distinct(folder: Path) -> list[dict[str, Any]]:
    """The metrics of each epoch of each run, the last word on each."""
    return list({(m["run"], m["epoch"]): m for m in orders.events(folder, "metrics")}.values())


#: Every way of teaching in which more is in motion than one student, with all that has a state.
TERMS: list[dict[str, Any]] = [{"type": "kd"}, {"type": "hint"}, {"type": "similarity"}]
REGIMES: dict[str, dict[str, Any]] = {
    "assistants": {
        "assistants": [
            {"student": {"type": "mlp", "hidden": [20], "dropout": 0.1}},
            {"student": {"type": "mlp", "hidden": [18]}, "loss": {"type": "kd"}, "train": {"epochs": 1}},
        ],
        "loss": TERMS,
    },
    "born_again": {"teacher": {"type": "born_again", "generations": 3}, "loss": TERMS},
    "snapshot": {"teacher": {"type": "snapshot", "every": 1}, "loss": TERMS, "train": {"epochs": 4}},
    "ema": {"teacher": {"type": "ema", "decay": 0.6}, "loss": TERMS, "train": {"epochs": 4}},
    "peers": {
        "teacher": {
            "type": "peers",
            "students": [{"type": "mlp", "hidden": [20], "dropout": 0.2}, {"type": "mlp", "hidden": [14, 10]}],
        },
        "loss": TERMS,
        "train": {"epochs": 3, "ema": 0.9},
    },
    "branches": {
        "teacher": {"type": "branches"},
        "loss": [{"type": "kd"}, {"type": "ctkd"}],
        "train": {"epochs": 4, "accumulate": 2},
    },
}


@pytest.mark.parametrize("regime", REGIMES)
def test_a_regime_stopped_anywhere_gives_the_students_of_another(small: Make, tmp_path: Path, regime: str) -> None:
    """Stopped at each look in turn: in every lesson, between any two steps, and between two lessons."""
    fields = {
        **REGIMES[regime],
        "train": {"optimizer": {"type": "adamw", "lr": 0.01}, **REGIMES[regime].get("train", {})},
    }
    whole = run(small("whole", **fields), tmp_path / "whole")
    stopped, pieces = go_through(small("pieces", **fields), tmp_path / "pieces", [4, 6, 5, 7, 3, 5, 8, 4])
    assert stopped >= 4
    assert list(pieces.attempt.finished) == list(whole.attempt.finished)
    for name, done in whole.attempt.finished.items():
        again = pieces.attempt.finished[name]
        assert same(again.last, done.last), name
        assert same(again.beside, done.beside), name
        assert done.trail.best is not None
        assert again.trail.best is not None
        assert same(again.trail.best.weights, done.trail.best.weights), name
    assert pieces.report["test"] == whole.report["test"]
    assert [m["train"] for m in distinct(tmp_path / "pieces")] == [m["train"] for m in distinct(tmp_path / "whole")]
    percents = [event["percent"] for event in orders.events(tmp_path / "whole", "progress")]
    assert percents == sorted(percents)


def test_a_job_stopped_at_every_step_still_ends_the_same(make: Make, tmp_path: Path) -> None:
    fields = {"train": {"epochs": 1, "batch_size": 200, "control": False}}
    whole = run(make("whole", **fields), tmp_path / "whole")
    order = make("pieces", **fields)
    for _ in range(3):
        with pytest.raises(Stopped):
            # One look for the teacher's validation batch, then one after the first step.
            run(order, tmp_path / "pieces", StopAt(2))
    pieces = run(order, tmp_path / "pieces")
    resumed = [notice["message"] for notice in orders.events(tmp_path / "pieces", "notice")]
    assert resumed == [f"the student goes on from step {step}" for step in (1, 2, 3)]
    assert same(pieces.weights, whole.weights)


def test_the_same_seed_gives_the_same_student_and_another_seed_another(make: Make, tmp_path: Path) -> None:
    a, b, c = (
        run(make(name, train={"epochs": 1, "seed": seed, "control": False}), tmp_path / name).weights
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert same(a, b)
    assert not same(a, c)


def test_the_control_does_not_change_the_student(make: Make, tmp_path: Path) -> None:
    both, alone = (
        run(make(name, train={"epochs": 1, "control": control}), tmp_path / name)
        for name, control in (("with", True), ("without", False))
    )
    assert same(both.weights, alone.weights)
    assert alone.report["test"]["control"] is None


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(make: Make, tmp_path: Path) -> None:
    whole = run(make("whole", **PLAIN), tmp_path / "whole")
    order = make("pieces", **PLAIN, order={"checkpoint_s": 0.0})
    with pytest.raises(Stopped):
        run(order, tmp_path / "pieces", StopAt(22))
    newest = max((tmp_path / "pieces" / "checkpoints").glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    pieces = run(order, tmp_path / "pieces")
    assert [w["code"] for w in orders.events(tmp_path / "pieces", "warning")] == ["checkpoint_broken"]
    assert same(pieces.weights, whole.weights)


def test_training_is_not_done_again_where_only_the_export_was_missing(make: Make, tmp_path: Path) -> None:
    order = make("work", **PLAIN)
    first = run(order, tmp_path / "work")
    epochs = len(orders.events(tmp_path / "work", "metrics"))
    again = run(order, tmp_path / "work")
    assert len(orders.events(tmp_path / "work", "metrics")) == epochs
    assert same(first.weights, again.weights)
    assert first.report["runs"]["student"]["best"] == again.report["runs"]["student"]["best"]


def test_a_job_that_is_stopped_while_it_is_scored_hands_out_the_student(make: Make, tmp_path: Path) -> None:
    order = make(train={"epochs": 1, "batch_size": 200, "control": False, "augment": {"crop": 1}})
    # A look for the teacher's validation rows, one for each of three steps, one for the epoch's validation.
    with pytest.raises(Stopped):
        run(order, tmp_path / "work", StopAt(6))
    assert orders.events(tmp_path / "work", "phase")[-1] == {"phase": "evaluating"}
    assert orders.report_of(tmp_path / "work")["partial"] is True
    partial = orders.student_of(tmp_path / "work")
    assert same(partial, run(order, tmp_path / "work").weights)


def test_a_job_that_is_stopped_before_its_first_step_hands_out_nothing(make: Make, tmp_path: Path) -> None:
    order = make(train={"epochs": 2})
    with pytest.raises(Stopped):
        run(order, tmp_path / "work", StopAt(2))  # while the teacher's outputs are kept
    assert orders.events(tmp_path / "work", "phase")[-1] == {"phase": "caching"}
    assert not (tmp_path / "work" / "out").exists()


def test_checkpoints_of_another_order_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(make("work", train={"epochs": 2}), tmp_path / "work", StopAt(8))
    with pytest.raises(UserConfig, match="another order") as caught:
        run(make("work", train={"epochs": 3}), tmp_path / "work")
    assert caught.value.code == "checkpoint_mismatch"

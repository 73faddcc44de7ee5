"""Steps, epochs and what is chosen from them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.engine.conftest import Make, Trained, run
from worker.engine.results import select
from worker.engine.training import make_run
from worker.engine.wiring import wire

#: Without dropout and batch statistics, so that a batch is worth the sum of its parts.
PLAIN = {"type": "mlp", "hidden": [16]}


def weights_after(make: Make, folder: Path, name: str, **train: Any) -> dict[str, torch.Tensor]:
    fields = {"epochs": 1, "control": False, "precision": "float32", **train}
    return run(make(name, student=PLAIN, train=fields), folder / name).attempt.finished["student"].last


@pytest.mark.parametrize(("batch", "accumulate"), [(50, 4), (70, 3), (210, 1)])
def test_accumulated_batches_make_the_step_of_one_large_batch(
    make: Make, tmp_path: Path, batch: int, accumulate: int
) -> None:
    """600 rows: three steps of 200 or 210, of which the last has fewer rows, and fewer batches."""
    large = weights_after(make, tmp_path, "large", batch_size=batch * accumulate)
    parts = weights_after(make, tmp_path, "parts", batch_size=batch, accumulate=accumulate)
    for name, x in large.items():
        torch.testing.assert_close(parts[name], x, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_to_the_norm(make: Make, tmp_path: Path) -> None:
    """Without momentum a step is rate times gradient: its length can be measured."""
    optimizer = {"type": "sgd", "lr": 1.0, "momentum": 0, "nesterov": False, "weight_decay": 0}
    train = {"batch_size": 600, "optimizer": optimizer, "schedule": {"type": "constant"}}
    start = (
        wire(make("start", student=PLAIN), tmp_path / "start", torch.device("cpu"))
        .student.network()
        .module.state_dict()
    )
    moved = weights_after(make, tmp_path, "clipped", **train, clip_norm=0.01)
    length = torch.cat([(moved[name] - x).flatten() for name, x in start.items()]).norm()
    assert float(length) == pytest.approx(0.01, rel=1e-3)
    free = weights_after(make, tmp_path, "free", **train)
    assert float(torch.cat([(free[name] - x).flatten() for name, x in start.items()]).norm()) > 0.02


def test_early_stopping_ends_the_run_and_the_best_epoch_is_handed_out(make: Make, tmp_path: Path) -> None:
    train = {"epochs": 40, "early_stopping": {"patience": 2, "min_delta": 0.02}, "control": False}
    trained = run(make(student=PLAIN, train=train), tmp_path / "work")
    trail = trained.attempt.finished["student"].trail
    assert trail.stopped_early
    assert len(trail.epochs) < 40
    accuracies = [epoch["val"]["accuracy"] for epoch in trail.epochs]
    assert max(accuracies[-2:]) <= max(accuracies[:-2]) + 0.02
    assert trained.report["runs"]["student"]["stopped_early"] is True


def test_best_and_last_are_both_scored_and_one_is_selected(make: Make, tmp_path: Path) -> None:
    # A rate that ruins the network after it was good.
    train = {"epochs": 3, "schedule": {"type": "constant"}, "control": False, "optimizer": {"type": "sgd", "lr": 0.6}}
    found: dict[str, Trained] = {
        which: run(make(which, train={**train, "select": which}), tmp_path / which) for which in ("best", "last")
    }
    for which, trained in found.items():
        report = trained.report
        epochs = trained.attempt.finished["student"].trail.epochs
        ranks = [(epoch["val"]["accuracy"], -epoch["val"]["cross_entropy"]) for epoch in epochs]
        assert report["best_epoch"] == ranks.index(max(ranks)) + 1
        assert report["last_epoch"] == 3
        assert report["selected"] == which
        assert report["selected_epoch"] == report[f"{which}_epoch"]
        assert report["test"]["student"] == report["runs"]["student"][which]["test"]
    best = found["best"].attempt.finished["student"]
    assert select(best, "best")[1] is not select(best, "last")[1]


def test_the_averaged_student_is_the_one_that_is_scored(make: Make, tmp_path: Path) -> None:
    plain, averaged = (
        run(make(name, student=PLAIN, train={"epochs": 2, "control": False, "ema": ema}), tmp_path / name)
        for name, ema in (("plain", None), ("averaged", 0.9))
    )
    assert any(not torch.equal(averaged.weights[name], x) for name, x in plain.weights.items())
    train_lines = [
        [epoch["train"] for epoch in trained.attempt.finished["student"].trail.epochs] for trained in (plain, averaged)
    ]
    assert train_lines[0] == train_lines[1], "averaging does not change what is trained"


def test_smoothed_labels_change_training_and_not_the_scores(make: Make, tmp_path: Path) -> None:
    line = run(make(train={"epochs": 1, "label_smoothing": 0.5}, hard=1), tmp_path / "work")
    epoch = line.attempt.finished["control"].trail.epochs[0]
    assert epoch["train"]["hard"] > 1.3, "the entropy of labels smoothed by a half over ten classes is 1.79 less a bit"
    again = line.parts.task.metrics(torch.eye(10) * 100, torch.arange(10))
    assert again["cross_entropy"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["stored", "ema", "peers", "branches"])
def test_no_step_waits_for_the_device(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """On a GPU, whatever turns a tensor into a Python number stops the queue; here such calls are counted."""
    others: dict[str, dict[str, Any]] = {"stored": {"id": "tch_1"}, "peers": {"students": [PLAIN]}}
    train = {"epochs": 1, "augment": {"crop": 1, "flip": True}, "clip_norm": 1.0, "ema": 0.9}
    order = make(
        train=train, student={"type": "mlp", "hidden": [32, 16]}, teacher={"type": kind, **others.get(kind, {})}
    )
    parts = wire(order, tmp_path / "work", torch.device("cpu"))
    student = make_run(parts, parts.syllabus.groups[0])
    if parts.handed_in:
        student.feed = replace(student.feed, says=parts.teacher)
    calls: list[str] = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy", "nonzero"):
        plain = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *args: Any, name: str = name, plain: Any = plain) -> Any:
            calls.append(name)
            return plain(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    student.train_epoch(lambda: None)
    assert calls == []
    student.figures()
    assert calls, "the count sees what waits"

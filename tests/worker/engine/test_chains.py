"""Lessons in a row: a teacher, its assistants and the student; generations of one architecture."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.work import Exit
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from tests.worker.engine.test_resume import StopAt, same
from worker.engine import training
from worker.engine.job import run_order
from worker.engine.networks import build_network
from worker.engine.progress import Progress
from worker.engine.results import select
from worker.engine.run import main
from worker.engine.sources.source import Says
from worker.engine.stop import Stopped

ASSISTANTS = [{"student": {"type": "mlp", "hidden": [24]}}, {"student": {"type": "mlp", "hidden": [20]}}]
X = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).mul(255).to(torch.uint8)


def test_each_stage_is_kept_and_reported(small: Make, tmp_path: Path) -> None:
    order = small(assistants=ASSISTANTS)
    assert main(tmp_path / "work") == Exit.DONE
    out = tmp_path / "work" / "out"
    files = {"assistant_1.pth", "assistant_2.pth", "student.pth", "student.py", "report.json", "manifest.json"}
    assert {path.name for path in out.iterdir()} == files
    assert set(json.loads((out / "manifest.json").read_text())["files"]) == files - {"manifest.json"}
    report = orders.report_of(tmp_path / "work")
    assert [stage["name"] for stage in report["stages"]] == ["assistant_1", "assistant_2"]
    assert [stage["taught_by"] for stage in report["stages"]] == [["teacher"], ["assistant_1"]]
    assert report["runs"]["student"]["taught_by"] == ["assistant_2"]
    assert report["runs"]["control"]["taught_by"] == []
    assert report["runs"]["student"]["agreement"] != report["test"]["agreement"], "with the assistant, with the teacher"
    assert set(report["runs"]) == {"student", "control"}
    for stage, assistant in zip(report["stages"], order.spec.assistants, strict=True):
        network = build_network(assistant.student, order.dataset.input_shape, 10).module
        network.load_state_dict(torch.load(out / stage["file"], weights_only=True))
        assert stage["parameters"] == sum(p.numel() for p in network.parameters())
        assert 0 <= stage["agreement"] <= 1
        assert stage["train_s"] > 0
        for which in ("best", "last"):
            assert set(stage[which]) == {"epoch", "val", "test"}
            assert stage[which]["test"]["accuracy"] >= 0
    percents = [event["percent"] for event in orders.events(tmp_path / "work", "progress")]
    assert percents == sorted(percents)
    runs = list(dict.fromkeys(event["run"] for event in orders.events(tmp_path / "work", "progress")))
    assert runs == ["assistant_1", "assistant_2", "student", "control"]


@pytest.mark.parametrize("which", ["best", "last"])
def test_who_teaches_is_the_selected_network_before_and_is_not_changed(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """The teacher of the student: what it says when the lesson begins and when all is over."""
    taught: dict[str, tuple[Says, torch.Tensor]] = {}
    plain = training._teacher

    def watched(attempt: Any, parts: Any, wired: Any) -> Says | None:
        teacher = plain(attempt, parts, wired)
        if teacher is not None:
            taught[wired.lesson.name] = teacher, teacher(wired.bench.rows).logits
        return teacher

    monkeypatch.setattr(training, "_teacher", watched)
    train = {"epochs": 3, "select": which, "optimizer": {"type": "sgd", "lr": 0.3}, "augment": {"crop": 1}}
    trained = run(small(teacher={"type": "born_again"}, train=train), tmp_path / "work")
    teacher, at_first = taught["student"]
    _, weights = select(trained.attempt.finished["generation_1"], which)
    rows, wired = trained.parts.student.bench.rows, trained.parts.lessons["generation_1"]
    network = wired.with_weights(weights).module.eval()
    with torch.no_grad():
        torch.testing.assert_close(at_first, network(trained.parts.view(rows.raw)))
    assert torch.equal(teacher(rows).logits, at_first)
    assert not teacher(rows).logits.requires_grad
    state = teacher._call.module.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(state[name], x) for name, x in weights.items()), "byte for byte"


def test_generations_start_apart_and_the_first_without_a_teacher_is_the_control(small: Make, tmp_path: Path) -> None:
    trained = run(small(teacher={"type": "born_again", "generations": 3}), tmp_path / "work")
    assert list(trained.attempt.finished) == ["generation_1", "generation_2", "student"]
    starts = [wired.start.module.state_dict() for wired in trained.parts.lessons.values()]
    assert not any(same(starts[a], starts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    report = trained.report
    assert list(report["runs"]) == ["student"]
    assert report["test"]["control"] == trained.results.lessons["generation_1"].selected.test
    assert report["test"]["teacher"] is None
    assert [stage["taught_by"] for stage in report["stages"]] == [[], ["generation_1"]]
    (first,) = [line for line in orders.events(tmp_path / "work", "metrics") if line["run"] == "generation_1"][:1]
    assert first["train"]["loss"] == first["train"]["hard"], "by labels alone"


def test_generations_may_begin_with_a_teacher(small: Make, tmp_path: Path) -> None:
    trained = run(small(teacher={"type": "born_again", "teacher": "tch_1"}), tmp_path / "work")
    assert list(trained.attempt.finished) == ["generation_1", "student", "control"]
    report = trained.report
    assert report["stages"][0]["taught_by"] == ["teacher"]
    assert report["test"]["teacher"]["accuracy"] > 0.5


def stopped_in(order: Any, folder: Path, at: int) -> None:
    progress = Progress(folder / "events.jsonl")
    with pytest.raises(Stopped):
        run_order(order, folder, progress, StopAt(at))
    progress.close()


def test_what_is_there_is_handed_out_where_the_job_is_stopped(small: Make, tmp_path: Path) -> None:
    """A look for the teacher's validation rows; in each lesson one for its answers, three steps, one to validate."""
    train = {"epochs": 1, "control": False}
    names = {
        3: {"report.json", "manifest.json"},
        8: {"report.json", "manifest.json", "assistant_1.pth"},
        13: {"report.json", "manifest.json", "assistant_1.pth", "assistant_2.pth", "student.pth"},
    }
    stages = {3: "assistant_1", 8: "assistant_2", 13: "student"}
    for at, expected in names.items():
        folder = tmp_path / str(at)
        stopped_in(small(str(at), assistants=ASSISTANTS, train=train), folder, at)
        assert {path.name for path in (folder / "out").iterdir()} == expected, at
        report = orders.report_of(folder)
        assert (report["partial"], report["stage"]) == (True, stages[at])
        assert [stage["name"] for stage in report["stages"]] == sorted(
            name.removesuffix(".pth") for name in expected if name.startswith("assistant")
        )
        assert report["selected_epoch"] == (0 if at == 13 else None)


def test_an_assistant_that_diverges_points_to_its_own_rate(small: Make, tmp_path: Path) -> None:
    wild = {**ASSISTANTS[0], "train": {"epochs": 20, "batch_size": 40, "optimizer": {"type": "sgd", "lr": 100}}}
    small(assistants=[{**wild, "loss": {"type": "logits_mse"}}])
    assert main(tmp_path / "work") == Exit.FAILED
    error = json.loads((tmp_path / "work" / "error.json").read_text())
    assert error["code"] == "loss_not_finite"
    assert "assistant_1" in error["detail"]
    assert error["errors"][0]["pointer"] == "/assistants/0/train/optimizer/lr"

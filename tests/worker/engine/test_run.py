"""The door: `python -m worker.engine.run WORKDIR` as a process, its files, its exit codes and its signals."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models.work import Exit, WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, Taught
from worker.engine.networks import build_network
from worker.engine.run import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def _handlers() -> Iterator[None]:
    """`main` takes the signals of the process; give them back."""
    taken = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in taken]
    yield
    for number, handler in zip(taken, before, strict=True):
        signal.signal(number, handler)


def start(folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "log.txt").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "worker.engine.run", str(folder)], cwd=ROOT, stdout=log, stderr=log
        )


def wait_for(folder: Path, kind: str, process: subprocess.Popen[bytes]) -> None:
    """Until the engine has written an event of this kind."""
    path = folder / "events.jsonl"
    while process.poll() is None:
        if path.exists() and f'"type": "{kind}"' in path.read_text():
            return
        time.sleep(0.02)


def error_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "error.json").read_text())
    return found


def accuracy_from_files(folder: Path, order: WorkOrder, data: Data) -> float:
    """What anyone computes from student.pth, the report's normalisation and the test rows: no part of the engine."""
    network = build_network(order.spec.student, order.dataset.input_shape, order.dataset.num_outputs).module
    network.load_state_dict(orders.student_of(folder))
    network.eval()
    given = orders.report_of(folder)["input"]
    rows = data[0]["split"] == 2
    x = data[0]["x"][rows].float() / 255
    x = (x - torch.tensor(given["mean"]).view(1, -1, 1, 1)) / torch.tensor(given["std"]).view(1, -1, 1, 1)
    with torch.no_grad():
        return float((network(x).argmax(1) == data[0]["y"][rows]).double().mean())


def test_a_job_from_files_to_files(make: Make, tmp_path: Path, digits: Data) -> None:
    folder = tmp_path / "work"
    order = make(student={"type": "resnet", "depth": 8}, train={"epochs": 2})
    process = start(folder)
    assert process.wait(120) == Exit.DONE, (folder / "log.txt").read_text()
    report = orders.report_of(folder)
    assert accuracy_from_files(folder, order, digits) == report["test"]["student"]["accuracy"]
    assert report["test"]["student"]["accuracy"] > 0.7
    assert report["test"]["teacher"]["accuracy"] > 0.9
    assert set(report["test"]["control"]) == {"accuracy", "cross_entropy", "ece", "top5"}
    assert 0.5 < report["test"]["agreement"] <= 1
    assert report["selected_epoch"] in (report["best_epoch"], report["last_epoch"])
    assert report["partial"] is False
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert set(manifest["files"]) == {"student.pth", "student.py", "report.json"}
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((folder / "out" / name).read_bytes()).hexdigest() == sha256
    assert not (folder / "error.json").exists()
    check_events(folder)


def check_events(folder: Path) -> None:
    phases = [event["phase"] for event in orders.events(folder, "phase")]
    assert phases == ["checking", "caching", "training", "training", "evaluating", "exporting"]
    assert [(m["run"], m["epoch"]) for m in orders.events(folder, "metrics")] == [
        ("student", 1), ("student", 2), ("control", 1), ("control", 2),
    ]  # fmt: skip
    percents = [event["percent"] for event in orders.events(folder, "progress")]
    assert percents
    assert percents == sorted(percents)
    for event in orders.events(folder, "progress"):
        assert {"epoch", "epochs", "step", "steps", "percent", "eta_s", "samples_per_s", "metrics"} <= set(event)


def test_signals_give_a_checkpoint_and_a_partial_student_to_go_on_from(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    # Long enough to be met in training by the signal.
    make(train={"epochs": 4000, "control": False})
    process = start(folder)
    wait_for(folder, "metrics", process)
    process.send_signal(signal.SIGUSR1)
    while not list((folder / "checkpoints").glob("*.pt")):
        assert process.poll() is None, (folder / "log.txt").read_text()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert process.wait(30) == Exit.STOPPED, (folder / "log.txt").read_text()
    assert time.monotonic() - begun < 5
    assert orders.report_of(folder)["partial"] is True
    assert json.loads((folder / "out" / "manifest.json").read_text())["partial"] is True
    assert orders.student_of(folder)
    assert list((folder / "checkpoints").glob("*.pt"))
    process = start(folder)
    wait_for(folder, "notice", process)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert orders.events(folder, "notice")[0]["code"] == "resumed"


def test_a_signal_that_comes_before_torch_is_imported_is_heard(make: Make, tmp_path: Path) -> None:
    make()
    process = start(tmp_path / "work")
    while not (tmp_path / "work" / "events.jsonl").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == Exit.STOPPED
    assert not (tmp_path / "work" / "out").exists()


@pytest.mark.usefixtures("_handlers")
def test_a_teacher_that_knows_nothing_ends_the_job_before_training(
    tmp_path: Path, digits: Data, image_teacher: Taught
) -> None:
    folder = tmp_path / "work"
    shuffled = {**image_teacher[0], "fc.bias": image_teacher[0]["fc.bias"] + 1e4 * torch.eye(10)[3]}
    orders.make_workdir(folder, digits, (shuffled, image_teacher[1]), orders.spec())
    assert main(folder) == Exit.FAILED
    error = error_of(folder)
    assert (error["class"], error["code"]) == ("user_input", "weak_teacher")
    for cause in ("normalisation", "order of the classes", "layout", "input size", "allow_weak_teacher"):
        assert cause in error["detail"]
    assert error["accuracy"] < 0.2
    assert [event["phase"] for event in orders.events(folder, "phase")] == ["checking"]


@pytest.mark.usefixtures("_handlers")
def test_a_loss_that_is_not_finite_names_the_step_and_the_cause(make: Make, tmp_path: Path) -> None:
    train = {"epochs": 3, "optimizer": {"type": "sgd", "lr": 100}}
    make(student={"type": "mlp", "hidden": [32]}, loss={"type": "logits_mse"}, train=train)
    assert main(tmp_path / "work") == Exit.FAILED
    error = error_of(tmp_path / "work")
    assert (error["class"], error["code"]) == ("user_config", "loss_not_finite")
    assert "at step " in error["detail"]
    assert "learning rate 100" in error["detail"]
    assert error["errors"][0]["pointer"] == "/train/optimizer/lr"


@pytest.mark.usefixtures("_handlers")
def test_the_time_limit_ends_the_job_with_what_there_is(make: Make, tmp_path: Path) -> None:
    make(train={"epochs": 10_000}, order={"max_seconds": 2.0})
    assert main(tmp_path / "work") == Exit.FAILED
    assert error_of(tmp_path / "work")["class"] == "deadline"
    assert orders.report_of(tmp_path / "work")["partial"] is True
    assert list((tmp_path / "work" / "checkpoints").glob("*.pt"))


@pytest.mark.usefixtures("_handlers")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_the_machines_fault_and_leaves_the_last_checkpoint_whole(make: Make, tmp_path: Path) -> None:
    checkpoints = tmp_path / "work" / "checkpoints"
    make(train={"epochs": 5}, order={"checkpoint_s": 0.0})
    checkpoints.mkdir()
    # The second checkpoint is written to the full device.
    (checkpoints / ".00000002.pt.tmp").symlink_to("/dev/full")
    assert main(tmp_path / "work") == Exit.FAILED
    error = error_of(tmp_path / "work")
    assert (error["class"], error["code"]) == ("infra", "no_space")
    assert [path.name for path in checkpoints.iterdir()] == ["00000001.pt"]
    assert torch.load(checkpoints / "00000001.pt", weights_only=True)["run"]["at"] == 1


@pytest.mark.usefixtures("_handlers")
def test_an_order_that_is_none_is_our_fault(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    assert main(tmp_path) == Exit.FAILED
    assert error_of(tmp_path)["code"] == "order"


def test_an_export_that_fails_is_tried_again_without_training(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    make(train={"epochs": 2})
    blocked = folder / "out" / "student.pth"
    blocked.mkdir(parents=True)
    assert start(folder).wait(120) == Exit.FAILED
    assert error_of(folder)["class"] == "infra"
    told = len(orders.events(folder, "progress"))
    blocked.rmdir()
    assert start(folder).wait(120) == Exit.DONE, (folder / "log.txt").read_text()
    phases = [line["phase"] for line in orders.events(folder, "phase")]
    assert phases[-3:] == ["checking", "evaluating", "exporting"]
    assert len(orders.events(folder, "progress")) == told


@pytest.mark.usefixtures("_handlers")
def test_an_exporter_with_a_fault_of_ours_is_worth_another_attempt(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(train={"epochs": 1})

    def broken(*_: object) -> Path:
        raise ValueError("what was written computes something else")

    monkeypatch.setattr("worker.exporters.pth.export", broken)
    assert main(tmp_path / "work") == Exit.FAILED
    error = error_of(tmp_path / "work")
    assert (error["class"], error["code"]) == ("infra", "export_failed")

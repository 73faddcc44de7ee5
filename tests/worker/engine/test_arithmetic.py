"""How networks compute is chosen once: a resumed job and a retry compute as the first attempt did, bit for bit."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.spec.precision import Arithmetic
from models.work import WorkOrder
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from tests.worker.engine.test_resume import StopAt, distinct, same
from worker.engine import choosing
from worker.engine.stop import Stopped

#: Features are read, so that no way is compiled while it is timed.
TIMED: dict[str, Any] = {
    "student": {"type": "resnet", "depth": 8},
    "loss": [{"type": "kd"}, {"type": "hint"}],
    "train": {"epochs": 2, "batch_size": 100, "augment": {"crop": 1, "flip": True}, "control": False},
}
COMPILED: dict[str, Any] = {
    "student": {"type": "mlp", "hidden": [8]},
    "train": {"epochs": 2, "batch_size": 100, "control": False, "precision": {"name": "float32", "compile": True}},
}
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")


@pytest.fixture
def timed_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of any length is long enough for some steps to be timed."""
    monkeypatch.setitem(choosing.LONG, "cpu", 0.0)


def retried(order: WorkOrder, networks: dict[str, Any]) -> WorkOrder:
    """The order of a retry, whose spec holds what the first attempt's line says."""
    stored = {name: Arithmetic.model_validate(one) for name, one in networks.items()}
    return order.model_copy(update={"spec": order.spec.model_copy(update={"arithmetic": stored})})


@pytest.mark.usefixtures("timed_always")
def test_what_was_timed_is_kept_over_a_stop_and_in_a_retry(make: Make, tmp_path: Path) -> None:
    order = make("pieces", **TIMED)
    with pytest.raises(Stopped):
        run(order, tmp_path / "pieces", StopAt(5))
    pieces = run(order, tmp_path / "pieces")
    assert any("goes on from step" in one["message"] for one in orders.events(tmp_path / "pieces", "notice"))
    first, second = (line["networks"] for line in orders.events(tmp_path / "pieces", "arithmetic"))
    assert first == second
    assert {name: one["by"] for name, one in pieces.report["arithmetic"].items()} == dict.fromkeys(first, "checkpoint")
    whole = run(retried(make("retry", **TIMED), first), tmp_path / "retry")
    assert {one["by"] for one in whole.report["arithmetic"].values()} == {"an attempt before"}
    assert not any("timed" in one for one in whole.report["arithmetic"].values())
    assert same(pieces.weights, whole.weights)
    assert pieces.report["test"] == whole.report["test"]
    assert [m["train"] for m in distinct(tmp_path / "pieces")] == [m["train"] for m in distinct(tmp_path / "retry")]


@pytest.mark.usefixtures("timed_always")
def test_the_first_attempt_times_and_the_report_says_what(make: Make, tmp_path: Path) -> None:
    report = run(make(**{**TIMED, "train": {**TIMED["train"], "epochs": 1}}), tmp_path / "work").report
    assert report["arithmetic"]["student"]["by"] == "timing"
    assert any(one["name"] == "float32" for one in report["arithmetic"]["student"]["timed"])


@needs_compiler
def test_a_compiled_job_that_was_stopped_gives_the_student_of_one_that_was_not(make: Make, tmp_path: Path) -> None:
    whole = run(make("whole", **COMPILED), tmp_path / "whole")
    order = make("pieces", **COMPILED)
    with pytest.raises(Stopped):
        run(order, tmp_path / "pieces", StopAt(8))
    pieces = run(order, tmp_path / "pieces")
    assert any("goes on from step" in one["message"] for one in orders.events(tmp_path / "pieces", "notice"))
    assert pieces.report["arithmetic"]["student"]["compile"]
    assert same(pieces.weights, whole.weights)


def test_a_job_that_wishes_a_compiler_trains_without_one(make: Make, tmp_path: Path) -> None:
    plain = {**COMPILED, "train": {**COMPILED["train"], "precision": "float32"}}
    expected = run(make("plain", **plain), tmp_path / "plain")
    make("work", **COMPILED)
    env = {"PATH": "/nonexistent", "CXX": "/nonexistent/c++", "PYTHONPATH": str(Path.cwd()), "HOME": str(tmp_path)}
    env |= {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "worker.engine.run", str(tmp_path / "work")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the network is not compiled" in done.stderr
    assert same(orders.student_of(tmp_path / "work"), expected.weights)


def test_checkpoints_from_before_a_field_of_the_spec_are_gone_on_from(make: Make, tmp_path: Path) -> None:
    order = make(train={"epochs": 2})
    with pytest.raises(Stopped):
        run(order, tmp_path / "work", StopAt(8))
    path = max((tmp_path / "work" / "checkpoints").glob("*.pt"))
    state = torch.load(path, weights_only=True)
    del state["engine"], state["order"]["spec"]["train"]["teacher_cache"], state["order"]["spec"]["allow_weak_teacher"]
    torch.save(state, path)
    run(order, tmp_path / "work")
    codes = [one["code"] for one in orders.events(tmp_path / "work", "notice")]
    assert "resumed" in codes
    assert "engine_changed" in codes


def test_a_checkpoint_of_engine_1_is_known_by_the_hash_it_kept(make: Make, tmp_path: Path) -> None:
    order = make(train={"epochs": 2})
    with pytest.raises(Stopped):
        run(order, tmp_path / "work", StopAt(8))
    path = max((tmp_path / "work" / "checkpoints").glob("*.pt"))
    state = torch.load(path, weights_only=True)
    # As it was written then: [spec without its cache, the other inputs].
    inputs = dict(state["order"])
    spec = inputs.pop("spec")
    del spec["train"]["teacher_cache"]
    state["order"] = hashlib.sha256(json.dumps([spec, inputs], sort_keys=True).encode()).hexdigest()
    del state["engine"]
    torch.save(state, path)
    run(order, tmp_path / "work")
    assert "resumed" in [one["code"] for one in orders.events(tmp_path / "work", "notice")]

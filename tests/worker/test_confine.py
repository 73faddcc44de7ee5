"""Whole checks in the confined child: limits become verdicts, and the parent is not fooled."""

import os
import time
from pathlib import Path

import onnx
import pytest

from models.canonical import TeacherMeta
from tests.worker.intake.teachers.graphs import graph, node, tensor
from tests.worker.intake.teachers.makers import RESNET8, order, resnet8, saved, verdict
from worker import confine
from worker.confine import run_confined
from worker.intake_limits import Limits

GRAPH = {"architecture": {"type": "onnx"}}


def test_an_old_checkpoint_is_converted(tmp_path: Path) -> None:
    content = {"state_dict": {f"module.{k}": v for k, v in resnet8().items()}, "best_prec1": 93.1, "epoch": 5}
    order(tmp_path, saved(content, legacy=True), {"architecture": RESNET8, "input": {"preset": "cifar"}})
    ticks: list[float] = []
    outcome = run_confined(tmp_path, tick=lambda: ticks.append(time.monotonic()))
    assert outcome.verdict == "done", outcome.log
    assert outcome.result.ready, outcome.result.report
    assert outcome.file == tmp_path / "out" / "teacher.safetensors"
    assert TeacherMeta.model_validate(outcome.result.meta).num_outputs == 10
    assert len(ticks) > 5
    assert {warning.split(":")[0] for warning in outcome.warnings} <= {"user", "network", "files", "system_calls"}
    first = outcome.result.report["checks"][0]  # type: ignore[index]
    assert first["id"] == "confined"
    assert first["result"] == ("warn" if outcome.warnings else "pass")
    assert "/" not in first["detail"], "a path of this machine is no user's business"
    assert 100 * 2**20 < outcome.peak_bytes < 2 * 2**30


def test_nothing_of_the_environment_passes_but_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISTILLERY_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "LD_PRELOAD"):
        monkeypatch.setenv(name, "1")
    passed = confine.environment(tmp_path, 2)
    assert set(passed) == {
        "PATH", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "HOME", "TMPDIR", "USER", "CUDA_VISIBLE_DEVICES",
        "HF_HUB_OFFLINE", "ORT_DISABLE_TELEMETRY", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX",
    }  # fmt: skip
    assert passed["CUDA_VISIBLE_DEVICES"] == ""


def _memory_bomb() -> onnx.ModelProto:
    """A few hundred bytes that ask for 16 GiB."""
    fill = node("ConstantOfShape", "shape", "filled", value=tensor("v", [1.0]))
    nodes = [fill, node("ReduceSum", "filled", "sum", keepdims=0), node("Add", "x sum", "y")]
    return graph(nodes, [tensor("shape", [2**16, 2**16], "int64")], outputs=[("y", ("N", 4))])


def test_too_much_memory_is_a_verdict(tmp_path: Path) -> None:
    order(tmp_path, _memory_bomb().SerializeToString(), GRAPH)
    outcome = run_confined(tmp_path, limits=Limits(memory_bytes=6 * 2**30))
    assert outcome.verdict == "too_much_memory", outcome.log
    code, detail = verdict(outcome.result)
    assert code == "too_much_memory"
    assert detail.startswith("The check needs more than the 6.0 GiB of memory that it may use. Hand in a smaller file")


def test_too_slow_is_a_verdict(tmp_path: Path) -> None:
    order(tmp_path, saved(resnet8()), {"architecture": RESNET8})
    outcome = run_confined(tmp_path, limits=Limits(wall_s=0.3))
    assert outcome.verdict == "too_slow"
    assert verdict(outcome.result)[0] == "too_slow"
    assert outcome.seconds < 5


def test_what_a_tick_raises_ends_the_child(tmp_path: Path) -> None:
    order(tmp_path, saved(resnet8()), {"architecture": RESNET8})

    def lost() -> None:
        raise KeyError("lease")

    with pytest.raises(KeyError):
        run_confined(tmp_path, tick=lost)
    assert not [p for p in Path("/proc").iterdir() if p.name.isdigit() and _cwd(p) == str(tmp_path)]


def _cwd(process: Path) -> str | None:
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return None


def test_what_this_machine_cannot_take_away_is_found_out() -> None:
    gaps = confine.gaps()
    assert {line.split(":")[0] for line in gaps} <= {"network", "user", "files", "system_calls"}
    assert all(line.split(": ", 1)[1] for line in gaps)
    for line in gaps:
        if line.startswith("user"):
            assert os.geteuid() == 0, "only root has another user to become"

"""Whole checks in the confined child: limits become verdicts, and the parent is not fooled."""

import signal
import time
from pathlib import Path

import onnx
import pytest

from models.canonical import TeacherMeta
from tests.worker.intake.teachers.graphs import graph, node, tensor
from tests.worker.intake.teachers.makers import RESNET8, order, resnet8, saved, verdict
from worker import confine
from worker.confine import Limits, run_confined

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
    assert all("cannot read" in warning or "network" in warning for warning in outcome.warnings)


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
    assert verdict(outcome.result) == (
        "too_much_memory",
        "The check needs more than the 6.0 GiB of memory that it may use.",
    )


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


def _judged(folder: Path, exit_code: int | None, log: str = "") -> tuple[str, bool, Path | None]:
    found, result, file = confine.judge(folder, exit_code, log, Limits())
    return found, result.ready, file


@pytest.mark.parametrize(
    ("exit_code", "log", "expected"),
    [
        (None, "", "too_slow"),
        (-signal.SIGXCPU, "", "too_slow"),
        (5, "", "too_much_memory"),
        (-signal.SIGKILL, "", "too_much_memory"),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'", "too_much_memory"),
        (-signal.SIGABRT, "", "crashed"),
        (6, "", "too_much_disk"),
        (-signal.SIGSEGV, "", "crashed"),
        (1, "Traceback", "crashed"),
        (0, "", "crashed"),
    ],
)
def test_every_end_has_its_verdict(tmp_path: Path, exit_code: int | None, log: str, expected: str) -> None:
    (tmp_path / "out").mkdir()
    assert _judged(tmp_path, exit_code, log) == (expected, False, None)


READY = '{"ready": true, "report": {"checks": []}, "meta": {}, "file": "FILE"}'


def _answer(folder: Path, name: str = "teacher.safetensors") -> None:
    (folder / "out").mkdir()
    (folder / "out" / "result.json").write_text(READY.replace("FILE", name))


def test_an_answer_is_taken_with_its_file(tmp_path: Path) -> None:
    _answer(tmp_path)
    file = tmp_path / "out" / "teacher.safetensors"
    file.write_bytes(b"x")
    assert _judged(tmp_path, 0) == ("done", True, file)


def test_no_link_is_followed_and_no_other_folder_read(tmp_path: Path) -> None:
    """The child may have been taken over: its file may be a link to ours, or lie elsewhere."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for number, name in enumerate(("linked", "hard", "../secret", "/etc/passwd", "missing", "", ".", "a\\u0000b")):
        folder = tmp_path / str(number)
        folder.mkdir()
        _answer(folder, name)
        (folder / "out" / "linked").symlink_to(secret)
        (folder / "out" / "hard").hardlink_to(secret)
        assert _judged(folder, 0) == ("crashed", False, None), name


def test_an_out_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    _answer(tmp_path / "real")
    (tmp_path / "real" / "out" / "teacher.safetensors").write_bytes(b"x")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "out").symlink_to(tmp_path / "real" / "out")
    assert _judged(tmp_path / "work", 0) == ("crashed", False, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ready": 1', "\x00"])
def test_an_answer_that_makes_no_sense_is_a_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text(text)
    assert _judged(tmp_path, 0) == ("crashed", False, None)

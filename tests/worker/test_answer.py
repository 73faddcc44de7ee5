"""What is believed of a confined child: it may have been taken over by the file that it read."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from worker import answer
from worker.intake_limits import Limits

META = {"architecture": {"type": "resnet", "depth": 8}, "input_shape": [3, 32, 32], "num_outputs": 10, "parameters": 1}
LINE = {"id": "forward", "result": "pass", "detail": "it runs"}


def _judged(folder: Path, exit_code: int | None, log: str = "") -> tuple[str, bool, Path | None]:
    found, result, file = answer.judge(folder, "teacher", exit_code, log, Limits())
    assert result.ready or result.meta is None
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


def _answer(folder: Path, name: str = "teacher.safetensors", **changed: Any) -> None:
    (folder / "out").mkdir(parents=True)
    result = {"ready": True, "report": {"checks": [LINE]}, "meta": META, "file": name} | changed
    (folder / "out" / "result.json").write_text(json.dumps(result))


def test_an_answer_is_taken_with_its_file(tmp_path: Path) -> None:
    _answer(tmp_path)
    file = tmp_path / "out" / "teacher.safetensors"
    file.write_bytes(b"x")
    assert _judged(tmp_path, 0) == ("done", True, file)


@pytest.mark.parametrize(
    ("meta", "good"),
    [
        ({"task": "teacher_outputs", "num_rows": 4, "num_outputs": 2, "last_row": 9}, True),
        ({"task": "teacher_outputs", "counts": {"train": 4}, "input_shape": [3], "num_outputs": 2}, False),
        ({"task": "tabular_regression", "counts": {"train": 4}, "input_shape": [3], "num_outputs": 1}, True),
        ({"task": "tabular_regression", "num_rows": 4, "num_outputs": 2, "last_row": 9}, False),
        ({"task": "another", "num_rows": 4, "num_outputs": 2, "last_row": 9}, False),
    ],
)
def test_a_data_set_is_samples_or_outputs(tmp_path: Path, meta: dict[str, Any], good: bool) -> None:
    _answer(tmp_path, "data.safetensors", meta=meta)
    (tmp_path / "out" / "data.safetensors").write_bytes(b"x")
    found, result, _ = answer.judge(tmp_path, "dataset", 0, "", Limits())
    assert (found, result.ready) == (("done", True) if good else ("crashed", False))
    assert not good or (result.meta or {})["task"] == meta["task"]


def test_no_link_is_followed_and_no_other_folder_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for number, name in enumerate(("linked", "hard", "../secret", "/etc/passwd", "missing", "", ".", "a\0b")):
        folder = tmp_path / str(number)
        _answer(folder, name)
        (folder / "out" / "linked").symlink_to(secret)
        (folder / "out" / "hard").hardlink_to(secret)
        assert _judged(folder, 0) == ("crashed", False, None), name


def test_an_out_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    _answer(tmp_path / "real")
    (tmp_path / "real" / "out" / "teacher.safetensors").write_bytes(b"x")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "out").symlink_to(tmp_path / "real" / "out")
    assert _judged(tmp_path / "work", 0) == ("crashed", False, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ready": 1', "\x00", "[" * 100_000])
def test_an_answer_that_makes_no_sense_is_a_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text(text)
    assert _judged(tmp_path, 0) == ("crashed", False, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"report": {}},
        {"report": {"checks": "all went well"}},
        {"report": {"checks": [{"id": "forward", "result": "great", "detail": ""}]}},
        {"meta": None},
        {"meta": {**META, "num_outputs": "many"}},
        {"meta": {**META, "graph_input": "x\0"}},
        {"file": None},
    ],
)
def test_what_the_service_could_not_show_or_use_is_a_crash(tmp_path: Path, changed: dict[str, Any]) -> None:
    _answer(tmp_path, **changed)
    (tmp_path / "out" / "teacher.safetensors").write_bytes(b"x")
    assert _judged(tmp_path, 0) == ("crashed", False, None)


def test_text_that_the_database_cannot_hold_is_made_plain(tmp_path: Path) -> None:
    report = {"checks": [{**LINE, "detail": "by \0"}], "producer\0": ["\0", float("nan"), 10**400]}
    _answer(tmp_path, ready=False, meta=None, file=None, report=report)
    found, result, _ = answer.judge(tmp_path, "teacher", 0, "", Limits())
    assert found == "done"
    assert result.report == {
        "checks": [{**LINE, "detail": "by \ufffd"}],
        "producer\ufffd": ["\ufffd", None, None],
    }

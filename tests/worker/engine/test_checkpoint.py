"""Files that are whole or not there."""

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.engine.checkpoint import Checkpoints, on_host, write_whole

CPU = torch.device("cpu")


def never(path: Path, error: Exception) -> None:
    raise AssertionError(f"{path} should be readable: {error}")


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 60)
    for at in range(5):
        checkpoints.save({"at": at, "x": torch.full((3,), float(at)), "list": [1, "two", None]})
    checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000004.pt", "00000005.pt"]
    state = Checkpoints(tmp_path, 60).load(CPU, never)
    assert state is not None
    assert (state["at"], state["x"].tolist(), state["list"]) == (4, [4.0] * 3, [1, "two", None])


def test_another_attempt_goes_on_counting(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path, 60)
    first.save({"at": 1})
    first.wait()
    second = Checkpoints(tmp_path, 60)
    second.save({"at": 2})
    second.wait()
    state = second.load(CPU, never)
    assert state is not None
    assert state["at"] == 2


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "new", 60).load(CPU, never) is None


def test_the_state_is_that_of_the_moment_though_it_is_written_later(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 60)
    x = torch.zeros(1_000_000)
    checkpoints.save({"x": x})
    x.add_(1)
    checkpoints.wait()
    state = checkpoints.load(CPU, never)
    assert state is not None
    assert not state["x"].any()


def test_a_file_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (canary,)

    torch.save({"x": Harmful()}, tmp_path / "00000009.pt", pickle_module=pickle)
    broken: list[str] = []
    assert Checkpoints(tmp_path, 60).load(CPU, lambda path, _: broken.append(path.name)) is None
    assert broken == ["00000009.pt"]
    assert not canary.exists()


def test_they_are_due_by_time_and_sooner_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    assert not Checkpoints(tmp_path, 60).due(epoch_ended=False)
    assert not Checkpoints(tmp_path, 60).due(epoch_ended=True)
    short = Checkpoints(tmp_path, 0.05)
    time.sleep(0.06)
    assert short.due(epoch_ended=False)
    short.save({"x": torch.zeros(30_000_000)})
    time.sleep(0.06)
    assert not short.due(epoch_ended=True), "what held up the loop for long is not done often"
    short.wait()


def test_a_failed_write_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 60)
    (tmp_path / ".00000001.pt.tmp").mkdir()  # a folder is in the way
    checkpoints.save({"at": 1})
    with pytest.raises(OSError, match=r"00000001\.pt"):
        checkpoints.wait()
    assert list(tmp_path.glob("*.pt")) == []


def test_a_whole_file_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_copies_on_the_host_keep_the_shape_of_the_state() -> None:
    x = torch.ones(2)
    copied = on_host({"a": [x, (x, 3)], "b": None})
    x.zero_()
    assert copied["a"][0].tolist() == copied["a"][1][0].tolist() == [1, 1]
    assert (copied["a"][1][1], copied["b"]) == (3, None)

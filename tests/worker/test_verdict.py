"""From the way a child ended to who can do something about it."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from core.errors import Deadline, Infra, Internal, JobFailure, Problem, UserConfig, UserInput
from models.work import Exit
from worker.child import Ended
from worker.memory import Memory
from worker.verdict import Place, failure_of, repeated

GIB = 2**30
PLACE = Place("training", 7)
CALM = Memory(limit=8 * GIB, kills=10**9)
#: The kernel has killed since this was taken, whatever it has killed in all.
KILLED_FOR_MEMORY = Memory(limit=8 * GIB, kills=-1)


def verdict(workdir: Path, exit_code: int, *, peak: int = GIB, before: Memory = CALM) -> JobFailure:
    return failure_of(Ended(exit_code, peak), workdir, PLACE, 256, before)


@pytest.mark.parametrize("kind", [UserInput, UserConfig, Infra, Deadline, Internal])
def test_what_the_engine_says_comes_back_whole(tmp_path: Path, kind: type[JobFailure]) -> None:
    said = kind("It went wrong.", code="some_code", errors=[Problem("/loss", "bad")], extra={"step": 3})
    (tmp_path / "error.json").write_text(json.dumps(said.as_dict()))
    heard = verdict(tmp_path, Exit.FAILED)
    assert type(heard) is kind
    assert heard.as_dict() == said.as_dict()


@pytest.mark.parametrize("torn", ["", '{"class": "infra", "co', '{"class": "unheard_of"}', "[]"])
def test_a_torn_word_of_the_engine_is_that_of_a_full_disk(tmp_path: Path, torn: str) -> None:
    (tmp_path / "error.json").write_text(torn)
    failure = verdict(tmp_path, Exit.FAILED)
    assert (type(failure), failure.code) == (Infra, "no_reason")
    stored = json.loads(json.dumps(failure.as_dict()))
    assert repeated(failure, stored) is failure, "however often, it is no fault of the job"


@pytest.mark.parametrize("code", [-signal.SIGKILL, -signal.SIGTERM, Exit.STOPPED])
def test_who_is_ended_from_outside_is_tried_again(tmp_path: Path, code: int) -> None:
    failure = verdict(tmp_path, code)
    assert (type(failure), failure.code) == (Infra, "killed")
    assert "memory may be" not in failure.detail


def test_a_large_child_that_is_killed_gets_a_hint(tmp_path: Path) -> None:
    failure = verdict(tmp_path, -signal.SIGKILL, peak=6 * GIB)
    assert (type(failure), failure.code) == (Infra, "killed")
    assert "train.batch_size was 256; try 128" in failure.detail


def test_a_child_that_the_kernel_killed_for_memory_is_the_specs_doing(tmp_path: Path) -> None:
    failure = verdict(tmp_path, -signal.SIGKILL, peak=6 * GIB, before=KILLED_FOR_MEMORY)
    assert (type(failure), failure.code) == (UserConfig, "out_of_memory")
    assert failure.errors[0].pointer == "/train/batch_size"
    assert failure.extra["batch_size"] == 256


def test_a_small_child_beside_one_that_the_kernel_killed_is_not_to_blame(tmp_path: Path) -> None:
    assert verdict(tmp_path, -signal.SIGKILL, peak=GIB, before=KILLED_FOR_MEMORY).code == "killed"


@pytest.mark.parametrize(
    ("code", "name"), [(-signal.SIGSEGV, "SIGSEGV"), (-signal.SIGABRT, "SIGABRT"), (1, "exit code 1")]
)
def test_a_crash_names_its_end_its_place_and_the_log(tmp_path: Path, code: int, name: str) -> None:
    (tmp_path / "log.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    failure = verdict(tmp_path, code)
    assert (type(failure), failure.code) == (Internal, "crashed")
    assert f"{name} in phase training at step 7" in failure.detail
    assert failure.extra["log"][-1] == "line 99"
    assert len(failure.extra["log"]) == 20


def test_the_same_end_at_the_same_place_is_the_jobs_doing(tmp_path: Path) -> None:
    failure = verdict(tmp_path, -signal.SIGKILL)
    stored = json.loads(json.dumps(failure.as_dict()))
    assert repeated(failure, stored).code == "crashes_repeatedly"
    assert isinstance(repeated(failure, stored), UserConfig)


@pytest.mark.parametrize("change", [{"place": {"phase": "training", "step": 8}}, {"exit_code": -6}])
def test_another_end_or_place_is_not(tmp_path: Path, change: dict[str, Any]) -> None:
    failure = verdict(tmp_path, -signal.SIGKILL)
    assert repeated(failure, {**failure.as_dict(), **change}) is failure
    assert repeated(failure, None) is failure


def test_a_failure_that_the_engine_named_is_never_a_repeated_crash() -> None:
    named = UserInput("The teacher guesses.", code="weak_teacher")
    assert repeated(named, named.as_dict()) is named


def test_the_memory_of_this_machine_is_known() -> None:
    memory = Memory.now()
    assert memory.limit > 2**27
    assert memory.kills >= 0
    assert not memory.explains(memory.limit)

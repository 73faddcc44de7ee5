"""From the end of a child to a failure class: who can do something about it, and what."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Deadline, Infra, Internal, JobFailure, Problem, UserConfig, UserInput
from models.work import Exit
from worker.child import Ended
from worker.memory import Memory
from worker.tail import end_of

_CLASSES = {kind.failure.value: kind for kind in (UserInput, UserConfig, Infra, Deadline, Internal)}
#: Nobody here asked for these: SIGKILL, SIGTERM, and the engine's answer to SIGTERM.
_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, Exit.STOPPED}
#: What as_dict() writes itself; the rest of a stored failure are its figures.
_OWN_FIELDS = {"type", "title", "class", "code", "detail", "errors"}


@dataclass(frozen=True)
class Place:
    """Where a job was when it ended."""

    phase: str | None = None
    step: int | None = None
    #: Of all steps of the job.
    percent: float = 0.0

    def __str__(self) -> str:
        at = f"in phase {self.phase}" if self.phase else "before its first phase"
        return at if self.step is None else f"{at} at step {self.step}"

    def as_dict(self) -> dict[str, Any]:
        """The form it has in a failure."""
        return {"phase": self.phase, "step": self.step}


def failure_of(ended: Ended, workdir: Path, place: Place, batch_size: int, before: Memory) -> JobFailure:
    """Why a child that nobody stopped ended without a student. What the engine says itself comes first."""
    told = _told(workdir / "error.json")
    if told is not None:
        return told
    extra = {"exit_code": ended.exit_code, "place": place.as_dict(), "log": _last_lines(workdir)}
    if ended.exit_code in _FROM_OUTSIDE:
        return _killed(ended, place, batch_size, before, extra)
    if ended.exit_code == Exit.FAILED:
        # It knew why and its words are not there: a full disk takes none, and the job is not to blame for that.
        return Infra(
            f"The training process failed {place} and could not write down why. The worker's disk may be full: free "
            "some space under DISTILLERY_DATA_DIR.",
            code="no_reason",
            extra={"log": extra["log"]},
        )
    how = f"with {ended.signal.name}" if ended.signal else f"with exit code {ended.exit_code}"
    return Internal(
        f"The training process ended {how} {place}. The last log lines say more; please report them.",
        code="crashed",
        extra=extra,
    )


def repeated(failure: JobFailure, previous: dict[str, Any] | None) -> JobFailure:
    """The same end at the same place twice in a row is the job's doing: it is not tried a third time."""
    mine = failure.extra
    if previous is None or "exit_code" not in mine:
        return failure
    if any(mine[key] != previous.get(key) for key in ("exit_code", "place")):
        return failure
    return UserConfig(
        f"The training process ended the same way twice in a row: {failure.detail} It is not tried again; change the "
        "spec, or retry the job if the machine was at fault.",
        code="crashes_repeatedly",
        extra=mine,
    )


def _told(path: Path) -> JobFailure | None:
    """The failure that the engine wrote, if it did."""
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text())
        kind = _CLASSES[told["class"]]
        errors = [Problem(each["pointer"], each["message"]) for each in told.get("errors", [])]
        extra = {key: value for key, value in told.items() if key not in _OWN_FIELDS}
        return kind(told["detail"], code=told["code"], errors=errors, extra=extra)
    except (ValueError, KeyError, TypeError):
        return None  # killed while it wrote it: the exit code says the rest


def _killed(ended: Ended, place: Place, batch_size: int, before: Memory, extra: dict[str, Any]) -> JobFailure:
    held = f"It held {ended.peak_bytes / 2**30:.1f} of {before.limit / 2**30:.1f} GiB of memory"
    remedy = f"train.batch_size was {batch_size}; try {max(1, batch_size // 2)}"
    extra = extra | {"peak_bytes": ended.peak_bytes, "batch_size": batch_size}
    if before.explains(ended.peak_bytes):
        message = f"The machine ran out of memory {place}. {held}; {remedy}."
        errors = [Problem("/train/batch_size", remedy)]
        return UserConfig(message, code="out_of_memory", errors=errors, extra=extra)
    hint = f" {held}, so memory may be the cause: {remedy}." if before.is_large(ended.peak_bytes) else f" {held}."
    return Infra(f"The training process was killed from outside {place}.{hint}", code="killed", extra=extra)


def _last_lines(workdir: Path, num_lines: int = 20) -> list[str]:
    return end_of(workdir / "log.txt", 8192).splitlines()[-num_lines:]

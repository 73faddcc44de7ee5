"""What the engine tells the world while it runs: lines of events.jsonl, and a bar where a person watches.

One JSON object a line, {"type", "data", "at"}: `phase`, `progress` (at most two a second), `metrics` (one an epoch),
`warning`, `notice`, and once
`arithmetic`. A line is written whole and flushed, so that a reader that follows the file sees it at once.
It says when it was written (`at`, seconds since 1970), for it is read later; the first one says when the process began.
"""

import json
import logging
import os
import sys
import time
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

from models.status import Phase

log = logging.getLogger(__name__)

_PROGRESS_S = 0.5


class Progress:
    """Writes events; keeps the warnings and the seconds of each phase for the report."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._bar = _Bar() if sys.stderr.isatty() else None
        self._last_at = 0.0
        self._phase: Phase | None = None
        self._phase_at = time.monotonic()
        self.warnings: list[dict[str, str]] = []
        self.seconds: dict[str, float] = {}

    def phase(self, phase: Phase) -> None:
        """What the engine does from now on."""
        self._count_seconds()
        began = {"began": process_began()} if self._phase is None else {}
        self._phase = phase
        self._write("phase", {"phase": phase.value}, **began)
        if self._bar:
            self._bar.describe(phase.value)

    def close_phase(self) -> None:
        """Count the seconds of the phase up to now."""
        self._count_seconds()

    def due(self) -> bool:
        """Whether a progress line may be written; asked every step, so it must cost nothing."""
        return time.monotonic() - self._last_at >= _PROGRESS_S

    def progress(self, data: dict[str, Any]) -> None:
        """Where the run is; see `worker.engine.loop` for the fields."""
        self._last_at = time.monotonic()
        self._write("progress", data)
        if self._bar:
            self._bar.move(data["percent"], f"{data['run']} epoch {data['epoch']}/{data['epochs']}")

    def arithmetic(self, networks: dict[str, Any]) -> None:
        """How each network computes; the supervisor puts it into the job's spec."""
        self._write("arithmetic", {"networks": networks})

    def metrics(self, data: dict[str, Any]) -> None:
        """The figures of one epoch."""
        self._write("metrics", data)

    def warning(self, code: str, message: str) -> None:
        """Something that the user should know before trusting the result; said once."""
        line = {"code": code, "message": message}
        if line not in self.warnings:
            self.warnings.append(line)
            self._write("warning", line)
            log.warning(message)

    def notice(self, code: str, message: str) -> None:
        """Something that the user may want to know."""
        self._write("notice", {"code": code, "message": message})
        log.info(message)

    def close(self) -> None:
        """No more events."""
        self._count_seconds()
        self._file.close()
        if self._bar:
            self._bar.close()

    def _count_seconds(self) -> None:
        now = time.monotonic()
        if self._phase is not None:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._phase_at
        self._phase_at = now

    def _write(self, kind: str, data: dict[str, Any], **times: float) -> None:
        line = {"type": kind, "data": finite(data), "at": round(time.time(), 3), **times}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


def process_began() -> float:
    """When the kernel made this process, in the same seconds, to its hundredth."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # proc(5): field 22, in ticks since the machine started; those before it are the id and the name.
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return round(time.time() - age_s, 3)


def finite(value: Any) -> Any:
    """The value with null where a number is not finite, for which JSON has no word."""
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value


class _Bar:
    """A progress bar on the terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        self._rich = Rich(*columns, console=Console(stderr=True))
        self._task = self._rich.add_task("starting", total=100)
        self._rich.start()

    def describe(self, text: str) -> None:
        self._rich.update(self._task, description=text)

    def move(self, percent: float, text: str) -> None:
        self._rich.update(self._task, completed=percent, description=text)

    def close(self) -> None:
        self._rich.stop()

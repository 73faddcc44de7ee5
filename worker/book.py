"""What an attempt tells the database: its own notes and the engine's lines, in order, each once.

Nothing is lost while the database is away: the engine's lines stay in its file, and a batch whose fate is unknown (a
COMMIT without an answer) is settled by the attempt's own count before anything is sent again.
"""

import logging
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from core import db, jobs
from core.jobs import Claim
from worker.outage import OUTAGE, reason
from worker.tail import Line, Tail, end_of
from worker.verdict import Place

log = logging.getLogger(__name__)

_LOG_EVERY_S = 10.0
#: The wait between two rows of progress grows with a job's age: a day gives thousands of them, not hundreds of
#: thousands.
_PROGRESS_SHARE = 1 / 600
_LONGEST_PROGRESS_WAIT_S = 10.0


@dataclass(frozen=True)
class _Batch:
    """Lines that go in one transaction. `upto` counts the attempt's lines, `end` is an offset in the engine's file."""

    lines: list[Line]
    phase: str | None
    progress: dict[str, Any] | None
    checkpoint: dict[str, Any] | None
    log: str | None
    arithmetic: dict[str, Any] | None
    upto: int
    end: int

    @property
    def is_empty(self) -> bool:
        return not self.lines and self.log is None


class Book:
    """One attempt's events, on their way to the database."""

    def __init__(self, claim: Claim, workdir: Path, shortest_wait_s: float) -> None:
        self.place = Place()
        self._claim = claim
        self._tail = Tail(workdir / "events.jsonl")
        self._log = workdir / "log.txt"
        self._log_due = time.monotonic() + _LOG_EVERY_S
        self._log_size = 0
        self._notes: list[Line] = []
        self._held: list[Line] = []
        self._checkpoint: dict[str, Any] | None = None
        self._upto = 0
        self._unsettled: _Batch | None = None
        self._started = time.monotonic()
        self._shortest_wait_s = shortest_wait_s
        self._progress_due = 0.0

    def note(self, kind: str, **data: Any) -> None:
        """A line of our own, after what the engine has said so far."""
        self._notes.append((kind, data))

    def checkpoint(self, record: dict[str, Any]) -> None:
        """A checkpoint is kept: a later attempt may start from it."""
        self._checkpoint = {**record, "step": self.place.step, "percent": self.place.percent}
        record = self._checkpoint
        self.note("checkpoint", **{key: value for key, value in record.items() if key not in {"key", "sha256"}})

    def size(self) -> int:
        """Grows with each line of the engine: the sign that it gets on."""
        return self._tail.size()

    def log_tail(self) -> str:
        """The end of what the engine printed."""
        return end_of(self._log)

    def send(self, *, is_last: bool = False) -> bool:
        """Send what there is. False where the database is away: call again. Raises LeaseLost."""
        batch = self._unsettled or self._next(is_last=is_last)
        try:
            if not batch.is_empty:
                self._write(batch, is_unsure=self._unsettled is not None)
        except OUTAGE as error:
            if self._unsettled is None:
                log.warning("events wait, the database is away: %s", reason(error))
            self._unsettled = batch
            return False
        self._unsettled = None
        self._upto = batch.upto
        self._tail.done(batch.end)
        return True

    def send_all(self) -> bool:
        """Send until nothing is left. False where the database is away."""
        while True:
            before = self._upto
            if not self.send(is_last=True):
                return False
            if self._upto == before:
                return True

    def _write(self, batch: _Batch, *, is_unsure: bool) -> None:
        with db.session() as session:
            if is_unsure:
                attempt = jobs.attempt_of(session, self._claim.token, self._claim.job_id)
                if attempt is not None and attempt.lines_read >= batch.upto:
                    return
            jobs.record(
                session,
                self._claim,
                batch.lines,
                phase=batch.phase,
                progress=batch.progress,
                checkpoint=batch.checkpoint,
                lines_read=batch.upto,
                log=batch.log,
                arithmetic=batch.arithmetic,
            )

    def _next(self, *, is_last: bool) -> _Batch:
        read, end = self._tail.read()
        notes, self._notes = self._notes, []
        checkpoint, self._checkpoint = self._checkpoint, None
        lines = [*self._held, *read, *notes]
        self._follow(lines)
        kept, self._held = self._thinned(lines, is_last=is_last)
        return _Batch(
            lines=kept,
            phase=_last(lines, "phase").get("phase"),
            progress=_last(lines, "progress") or None,
            checkpoint=checkpoint,
            log=self._log_if_due(is_last=is_last),
            arithmetic=_last(lines, "arithmetic").get("networks"),
            upto=self._upto + len(lines) - len(self._held),
            end=end,
        )

    def _follow(self, lines: list[Line]) -> None:
        phase = _last(lines, "phase").get("phase", self.place.phase)
        progress = _last(lines, "progress")
        self.place = Place(phase, progress.get("step", self.place.step), progress.get("percent", self.place.percent))

    def _thinned(self, lines: list[Line], *, is_last: bool) -> tuple[list[Line], list[Line]]:
        """Without a progress line that another one follows; and one that is alone and comes too soon, for later.

        Whatever else is sent takes the newest progress along: a row costs far more than what is in it.
        """
        kept = [line for line, after in zip_longest(lines, lines[1:]) if not _is_overtaken(line, after)]
        now = time.monotonic()
        if [kind for kind, _ in kept] == ["progress"] and not is_last and now < self._progress_due:
            return [], kept
        if kept:
            wait_s = (now - self._started) * _PROGRESS_SHARE
            self._progress_due = now + min(max(wait_s, self._shortest_wait_s), _LONGEST_PROGRESS_WAIT_S)
        return kept, []

    def _log_if_due(self, *, is_last: bool) -> str | None:
        """The log's end where it has grown; the last one is written with the attempt's end."""
        if is_last or time.monotonic() < self._log_due:
            return None
        self._log_due = time.monotonic() + _LOG_EVERY_S
        size = self._log.stat().st_size if self._log.exists() else 0
        if size == self._log_size:
            return None
        self._log_size = size
        return self.log_tail()


def _last(lines: list[Line], kind: str) -> dict[str, Any]:
    return next((data for each, data in reversed(lines) if each == kind), {})


def _is_overtaken(line: Line, after: Line | None) -> bool:
    return after is not None and line[0] == after[0] == "progress"

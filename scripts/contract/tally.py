"""What a run met, counted by the hooks in schemathesis' process and handed over as a file when that ends."""

import atexit
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: Answers by operation and status.
Answers = Counter[tuple[str, int]]
#: Findings that are none, by rule, operation, status and code.
Dropped = Counter[tuple[str, str, int, str]]
#: Refusals by a limit, by operation, code, and whether they say when to come again.
Limited = Counter[tuple[str, str, bool]]


@dataclass
class Tally:
    """Counts of one run, or of several."""

    answers: Answers = field(default_factory=Counter)
    dropped: Dropped = field(default_factory=Counter)
    limited: Limited = field(default_factory=Counter)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answer(self, operation: str, status: int) -> None:
        """One answer more."""
        with self._turn:
            self.answers[operation, status] += 1

    def drop(self, rule: str, operation: str, status: int, code: str) -> None:
        """One finding less."""
        with self._turn:
            self.dropped[rule, operation, status, code] += 1

    def limit(self, operation: str, code: str, *, says_when: bool) -> None:
        """One 429 more."""
        with self._turn:
            self.limited[operation, code, says_when] += 1

    def write_at_exit(self, path: Path) -> None:
        """Leave the counts there when the process ends."""
        atexit.register(lambda: path.write_text(json.dumps([_rows(each) for each in self._all()])))

    def add(self, path: Path) -> None:
        """Count what another process has left."""
        for mine, rows in zip(self._all(), json.loads(path.read_text()), strict=True):
            for key, count in rows:
                mine[tuple(key)] += count

    def _all(self) -> tuple[Counter[tuple[object, ...]], ...]:
        return self.answers, self.dropped, self.limited  # type: ignore[return-value] # each is read as a plain one


def _rows(counter: Counter[tuple[object, ...]]) -> list[tuple[tuple[object, ...], int]]:
    return list(counter.items())

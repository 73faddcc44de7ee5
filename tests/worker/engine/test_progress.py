"""Lines of events.jsonl."""

import json
import math
import time
from pathlib import Path

from models.status import Phase
from tests.worker.engine import orders
from worker.engine.progress import Progress


def test_each_event_is_a_line_that_is_there_at_once(tmp_path: Path) -> None:
    before = time.time()
    progress = Progress(tmp_path / "events.jsonl")
    progress.phase(Phase.CHECKING)
    progress.notice("resumed", "from step 5")
    progress.metrics({"epoch": 1})
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert all(before - 0.001 <= line.pop("at") <= time.time() + 0.001 for line in lines)
    assert before - 86_400 < lines[0].pop("began") < before
    assert lines == [
        {"type": "phase", "data": {"phase": "checking"}},
        {"type": "notice", "data": {"code": "resumed", "message": "from step 5"}},
        {"type": "metrics", "data": {"epoch": 1}},
    ]
    progress.close()


def test_progress_is_due_twice_a_second(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "events.jsonl")
    start, written = time.monotonic(), 0
    while time.monotonic() - start < 1.2:
        if progress.due():
            progress.progress({"percent": 1.0, "run": "student", "epoch": 1, "epochs": 2})
            written += 1
        time.sleep(0.01)
    assert 1 <= written <= 3
    progress.close()


def test_a_warning_is_said_once_and_kept(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "events.jsonl")
    for _ in range(3):
        progress.warning("weak_teacher", "it knows nothing")
    assert orders.events(tmp_path, "warning") == progress.warnings == [
        {"code": "weak_teacher", "message": "it knows nothing"}
    ]  # fmt: skip
    progress.close()


def test_a_number_that_json_has_no_word_for_is_null(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "events.jsonl")
    progress.metrics({"val": {"a": math.nan, "b": [math.inf, 1.5]}})
    assert orders.events(tmp_path, "metrics") == [{"val": {"a": None, "b": [None, 1.5]}}]
    progress.close()


def test_seconds_are_counted_by_phase(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "events.jsonl")
    for phase in (Phase.TRAINING, Phase.EVALUATING, Phase.TRAINING):
        progress.phase(phase)
        time.sleep(0.02)
    progress.close()
    assert progress.seconds["training"] > progress.seconds["evaluating"] >= 0.02

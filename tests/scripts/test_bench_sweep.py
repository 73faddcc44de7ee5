"""The benchmark of jobs that share a teacher, on a tiny pair: the teacher runs once for each row."""

from pathlib import Path

import pytest

from scripts.bench_folders import HELD_BACK, make_inputs
from scripts.bench_sweep import AUGMENTED, Setting, compare


def test_the_teacher_runs_once_for_all_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = make_inputs(tmp_path / "inputs", 128, {"type": "resnet", "depth": 8})
    faults = compare(tmp_path / "jobs", inputs, Setting("tiny", 128, 2, AUGMENTED, {"views": 1}, temperatures=(1,)))
    assert not [fault for fault in faults if "longer" not in fault], "whose time is shorter says nothing at this size"
    cells = [cell.strip() for cell in capsys.readouterr().out.split("|")]
    rows = 128 + 2 * HELD_BACK
    assert cells[1:4] == ["tiny", "128 x 2", "2"]
    assert cells[7:10] == [f"{2 * (2 * 128 + 2 * HELD_BACK):,}", f"{rows:,}", f"{rows:,}"]

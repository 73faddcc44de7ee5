"""What is handed out where a job is stopped: the job's student as soon as it is in training, in every regime."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from tests.worker.engine.test_resume import REGIMES, StopAt, same
from worker.engine.networks import build_network
from worker.engine.stop import Stopped


@pytest.mark.parametrize("regime", REGIMES)
def test_a_stopped_job_hands_out_its_student_if_there_is_one(small: Make, tmp_path: Path, regime: str) -> None:
    """Stopped in the first lesson and in each that follows; the student is that of the checkpoint."""
    folder, order = tmp_path / "work", small(**REGIMES[regime])
    seen = set[str]()
    for looks in (5, 8, 8, 8, 8, 8, 8, 8):
        try:
            run(order, folder, StopAt(looks))
        except Stopped:
            seen.add(check(folder, order))
    assert "student" in seen
    assert ("assistant_1" in seen) == (regime == "assistants")
    assert ("generation_1" in seen) == (regime == "born_again")


def check(folder: Path, order: Any) -> str:
    """The files of a stopped job fit each other; returns the lesson that was being held."""
    report, out = orders.report_of(folder), folder / "out"
    held, files = report["stage"], {path.name for path in out.iterdir()}
    assert report["partial"] is True
    assert set(json.loads((out / "manifest.json").read_text())["files"]) == files - {"manifest.json"}
    begun = held in {"student", "control", None}
    assert ("student.pth" in files) == begun
    assert (report["selected_epoch"] is not None) == begun
    if begun:
        data = order.dataset
        network = build_network(order.spec.student, data.input_shape, data.num_outputs).module
        network.load_state_dict(orders.student_of(folder))
    assert {stage["name"] for stage in report["stages"]} == {
        name.removesuffix(".pth") for name in files if name.endswith(".pth") and name != "student.pth"
    }
    return str(held)


def test_the_partial_student_is_the_best_so_far(small: Make, tmp_path: Path) -> None:
    order = small(teacher={"type": "peers", "students": [{"type": "mlp", "hidden": [8]}]}, train={"epochs": 5})
    with pytest.raises(Stopped):
        run(order, tmp_path / "work", StopAt(12))  # in the third epoch, each of three steps and two looks to validate
    newest = max((tmp_path / "work" / "checkpoints").glob("*.pt"))
    kept = torch.load(newest, weights_only=True)["run"]
    assert (kept["epoch"], kept["at"]) == (2, 2)
    best = kept["learners"][0]["trail"]["best"]
    assert orders.report_of(tmp_path / "work")["selected_epoch"] == best["epoch"]
    assert same(orders.student_of(tmp_path / "work"), best["weights"])

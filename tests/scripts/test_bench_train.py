"""The training benchmark runs through on a tiny pair, on the CPU, and says what was missed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scripts import bench_folders
from scripts.bench_train import accuracy, choice, data, loops
from scripts.bench_train.__main__ import (
    EACH,
    FLOOR,
    KEPT,
    SHORT,
    STEPS,
    TORCHDISTILL,
    Size,
    measure,
    report_stated,
    table,
)
from scripts.bench_train.orders import Pair
from worker.engine.precision import Precision

TINY = Pair(
    "tiny", {"type": "resnet", "depth": 8}, {"type": "resnet", "depth": 8}, data.made_up((3, 8, 8), 5, 32, 8), 16
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_side_has_a_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled = Precision("float32", "cpu", channels_last=True, compiled=True)
    rates, walls = measure(TINY, torch.device("cpu"), compiled, Size(rounds=1, each=2, kept=2, steps=1))
    assert {"tutorial loop", "research-library style loop", FLOOR, EACH, KEPT, SHORT, STEPS} <= set(rates)
    assert all(value > 0 for values in rates.values() for value in values)
    assert rates[SHORT][0] >= rates[KEPT][0], "filling takes time"
    assert set(walls) == {EACH, KEPT, STEPS}
    assert table(TINY, rates, walls).row_count == len(rates)


def test_seconds_after_the_first_epoch_leave_out_what_is_filled_between() -> None:
    said = [("phase", "caching", 1), ("phase", "training", 4), ("metrics", None, 10), ("phase", "caching", 11)]
    said += [("phase", "training", 20), ("metrics", None, 25), ("metrics", None, 30), ("phase", "evaluating", 32)]
    events = [{"type": kind, "data": {"phase": phase}, "at": float(at)} for kind, phase, at in said]
    assert bench_folders._later_s([*events, {"type": "phase", "data": {"phase": "exporting"}, "at": 40.0}]) == 1 + 12


def test_a_long_run_is_asked_for_as_the_engine_chooses_for_it() -> None:
    precision, sentence = choice.of_a_long_run(TINY, torch.device("cpu"))
    assert (precision.name, precision.compiled) == ("float32", False)
    assert sentence.endswith("float32 channels_last, by rule")


def test_torchdistills_box_learns_what_the_engine_learns_from() -> None:
    pytest.importorskip("torchdistill", reason="the bench extra is not installed")
    box = loops.distillation_box(TINY, torch.device("cpu"), steps=2, seed=0)
    before = {name: each.clone() for name, each in box.student_model.state_dict().items()}
    teacher = {name: each.clone() for name, each in box.teacher_model.state_dict().items()}
    box.pre_epoch_process(epoch=0)
    for batch in box.train_data_loader:
        loops._box_step(box, batch, torch.device("cpu"))
    assert not torch.equal(before["conv1.weight"], box.student_model.state_dict()["conv1.weight"])
    assert all(torch.equal(each, box.teacher_model.state_dict()[name]) for name, each in teacher.items())
    assert box.lr_scheduler.last_epoch == len(box.train_data_loader) == 2


def test_a_missed_ratio_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    good = {EACH: [2.2], STEPS: [3.6], KEPT: [3.0], TORCHDISTILL: [1.0], FLOOR: [3.7]}
    assert report_stated(good) == 0
    assert report_stated({**good, EACH: [2.0], FLOOR: [4.0]}) == 2
    assert capsys.readouterr().out.count("MISSED") == 2


def test_ratios_are_medians_of_the_rounds_own() -> None:
    """A machine that halves its speed between rounds changes no ratio."""
    slowing = {EACH: [2.2, 1.1], STEPS: [3.6, 1.8], KEPT: [3.0, 1.5], TORCHDISTILL: [1.0, 0.5], FLOOR: [3.7, 1.85]}
    assert report_stated(slowing) == 0


def test_a_student_below_the_others_seeds_is_a_miss() -> None:
    assert accuracy.Compared([0.80, 0.81, 0.82], [0.82, 0.81, 0.83]).holds
    assert accuracy.Compared([0.90, 0.91, 0.92], [0.82, 0.81, 0.83]).holds
    assert not accuracy.Compared([0.70, 0.71, 0.72], [0.82, 0.81, 0.83]).holds


def test_adult_comes_through_the_products_reader() -> None:
    if not data.ADULT.exists():
        pytest.skip("../shared/data/adult is not there")
    given = data.adult(100, 50)
    assert given.real
    assert given.meta.counts == {"train": 100, "val": 64, "test": 50}
    assert given.x.shape == (214, *given.meta.input_shape)
    assert set(given.meta.classes) == {"<=50K", ">50K"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_benchmark_measures_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "scripts.bench_gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing was measured" in done.stderr

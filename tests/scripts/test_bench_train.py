"""The training benchmark runs through on a tiny pair, on the CPU, and says what was missed."""

import subprocess
import sys

import pytest
import torch

from scripts.bench_train.__main__ import EACH, FLOOR, KEPT, STEPS, TORCHDISTILL, measure, report_stated, table
from scripts.bench_train.orders import Pair

TINY = Pair("tiny", {"type": "resnet", "depth": 8}, {"type": "resnet", "depth": 8}, (3, 8, 8), 5, 32, batch=16)


def test_every_side_has_a_rate() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates, walls = measure(TINY, torch.device("cpu"), rounds=1, epochs=2)
    finally:
        torch.set_num_threads(before)
    assert {"tutorial loop", FLOOR, EACH, KEPT, STEPS} <= set(rates)
    assert all(value > 0 for values in rates.values() for value in values)
    assert rates[STEPS][0] >= rates[KEPT][0], "filling takes time"
    assert set(walls) == {EACH, KEPT}
    assert table(TINY, rates, walls).row_count == len(rates)


def test_a_missed_ratio_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    good = {EACH: [2.2], STEPS: [3.6], KEPT: [3.0], TORCHDISTILL: [1.0], FLOOR: [3.7]}
    assert report_stated(good) == 0
    assert report_stated({**good, EACH: [2.0], FLOOR: [4.0]}) == 2
    assert capsys.readouterr().out.count("MISSED") == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_benchmark_measures_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "scripts.bench_gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing was measured" in done.stderr

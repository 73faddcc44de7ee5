"""student.py of sounds: it reads WAV files by itself, and hears what training heard."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.canonical import DatasetMeta, Spectrum
from scripts.corpus.sounds import wav
from tests.worker.exporters.cases import order
from tests.worker.exporters.test_source import made, shipped
from worker.engine.networks import evaluating
from worker.engine.normalise import student_view
from worker.exporters import pth, source
from worker.readers.base.limits import LIMITS
from worker.readers.base.spectrum import LogMel
from worker.readers.base.wav import samples

SPECTRUM = Spectrum(sample_rate=8000, samples=2000, window=200, hop=80, fft=256, mels=40)
SOUNDS = DatasetMeta(
    task="audio_classification",
    counts={"train": 8, "val": 4, "test": 4},
    input_shape=(1, SPECTRUM.mels, SPECTRUM.frames),
    num_outputs=2,
    classes=["no", "yes"],
    mean=[0.3],
    std=[0.2],
    spectrum=SPECTRUM,
)
STUDENT: dict[str, Any] = {"type": "resnet", "depth": 8}


def recording(path: Path, num: int = 1700, bits: int = 16, channels: int = 1, rate: int = 8000) -> Path:
    rng = np.random.default_rng(num)
    path.write_bytes(wav(rng.uniform(-1, 1, (num, channels)) * rng.uniform(1e-4, 1, (num, 1)), rate, bits))
    return path


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_it_reads_a_file_as_intake_does(tmp_path: Path, bits: int) -> None:
    defined = shipped(*made(STUDENT, SOUNDS), tmp_path)
    for num, channels in ((500, 1), (2000, 2), (3001, 1)):
        path = recording(tmp_path / "a.wav", num, bits, channels)
        expected = LogMel(SPECTRUM)(samples(path.read_bytes(), SPECTRUM.samples, LIMITS))[None].astype(int)
        found = defined["read"](path)
        assert found.dtype == torch.uint8
        # Another library's transform: what lies between two bytes may fall to the other one.
        apart = np.abs(found.numpy().astype(int) - expected)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 1e-3


def test_it_says_what_the_student_says(tmp_path: Path) -> None:
    net, chosen = made(STUDENT, SOUNDS)
    defined = shipped(net, chosen, tmp_path)
    path = recording(tmp_path / "a.wav")
    heard = defined["read"](path)
    with evaluating(net.module):
        expected = net.module(student_view(SOUNDS, torch.device("cpu"))(heard[None])).softmax(1)
    weights = tmp_path / "student.pth"
    torch.testing.assert_close(defined["predict"](defined["load"](weights), heard), expected)
    command = [sys.executable, "-I", str(tmp_path / "student.py"), str(weights), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"a.wav: {SOUNDS.classes[int(expected.argmax())]}" in done.stdout


def test_other_rates_and_shapes_are_refused(tmp_path: Path) -> None:
    defined = shipped(*made(STUDENT, SOUNDS), tmp_path)
    with pytest.raises(ValueError, match="8000 Hz are needed"):
        defined["read"](recording(tmp_path / "a.wav", rate=16_000))
    with pytest.raises(ValueError, match=r"spectrograms of \[1, 40, 23\] are needed, these are \[1, 40, 24\]"):
        defined["preprocess"](torch.zeros(2, 1, 40, 24, dtype=torch.uint8))


def test_it_is_run_alone_before_it_is_handed_out(tmp_path: Path) -> None:
    net, chosen = made({"type": "mlp", "hidden": [8]}, SOUNDS)
    assert chosen.dataset == order({"type": "mlp"}, SOUNDS).dataset
    path = source.export(net, chosen, tmp_path)
    pth.export(net, chosen, tmp_path)
    command = [sys.executable, "-I", str(path), str(tmp_path / "student.pth")]
    assert "input [1, 40, 23], 2 outputs" in subprocess.run(command, capture_output=True, text=True, check=True).stdout

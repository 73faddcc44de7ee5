"""Recordings in, a student that hears them out: a whole job on WAV files, with a teacher that learnt from decibels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from models.canonical import Spectrum
from scripts.client import Client
from scripts.corpus.archives import zipped
from scripts.corpus.sounds import tone, wav
from tests.acceptance.handed_out import student_of
from worker.readers.base.spectrum import LogMel
from worker.students import mlp

PITCHES = {"high": 900.0, "low": 300.0, "middle": 520.0}
NUM = 40


def recordings() -> dict[str, NDArray[np.float64]]:
    """By path: tones a little off their pitch, in noise that is louder than they are."""
    rng = np.random.default_rng(0)
    return {
        f"{name}/{i:02}.wav": (0.2 * tone(pitch * rng.uniform(0.8, 1.25))[:, 0] + rng.normal(0, 0.15, 800)).clip(-1, 1)
        for name, pitch in PITCHES.items()
        for i in range(NUM)
    }


def teach(decibels: torch.Tensor, y: torch.Tensor, path: Path) -> None:
    """A perceptron on features less their mean, over their deviation."""
    torch.manual_seed(0)
    net = mlp.build(tuple(decibels.shape[1:]), len(PITCHES), hidden=[32])
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(60):
        loss: Any = F.cross_entropy(net((decibels + 60) / 20), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(net.state_dict(), path)


@pytest.mark.acceptance
def test_a_student_of_recordings(client: Client, tmp_path: Path) -> None:
    given = recordings()
    (tmp_path / "tones.zip").write_bytes(zipped({name: wav(samples) for name, samples in given.items()}))
    options = {"n_mels": 24, "hop_ms": 12.5}
    dataset = client.dataset("tones", tmp_path / "tones.zip", "audio_classification", audio=options)
    dataset = client.ready(dataset)
    spectrum = Spectrum.model_validate(dataset["report"]["spectrum"])
    assert (spectrum.mels, spectrum.samples, spectrum.sample_rate) == (24, 800, 8000)

    heard = np.stack([LogMel(spectrum)(samples) for samples in given.values()])[:, None]
    decibels = torch.from_numpy(spectrum.low + spectrum.step * heard.astype(np.float32))
    teach(decibels, torch.arange(len(PITCHES)).repeat_interleave(NUM), tmp_path / "teacher.pth")
    said = {"preset": "none", "range": [spectrum.low, 0], "mean": [-60], "std": [20]}
    architecture = {"type": "mlp", "hidden": [32]}
    teacher = client.ready(client.teacher("tones", tmp_path / "teacher.pth", architecture, input=said))

    body: dict[str, Any] = {"teacher": teacher["id"], "dataset": dataset["id"], "loss": [{"type": "kd"}]}
    body["student"] = {"type": "mlp", "hidden": [16]}
    body["train"] = {
        "epochs": 12,
        "batch_size": 16,
        "optimizer": {"type": "adam", "lr": 0.01},
        "augment": {"time_shift": 1, "mel_mask": 2},
        "control": False,
    }
    refused = client.post("/jobs/validate", body | {"train": {"augment": {"flip": True}}})
    assert [fault["code"] for fault in refused["problems"]] == ["augment_does_not_fit"]
    job = client.ended(client.post("/jobs", body)["id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["task"] == "audio_classification"
    assert job["result"]["test"]["teacher"]["accuracy"] > 0.95, "it hears the decibels that it learnt from"
    assert job["result"]["test"]["student"]["accuracy"] > 0.7
    assert job["result"]["input"]["spectrum"] == dataset["report"]["spectrum"]

    student, net = student_of(client, job["id"], tmp_path)
    right = 0
    for name, samples in given.items():
        (tmp_path / "one.wav").write_bytes(wav(samples))
        right += student.CLASSES[int(student.predict(net, student.read(tmp_path / "one.wav")).argmax())] in name
    assert right > 0.7 * len(given)

"""`make accept-audio`: the main job on spoken digits, over HTTP, against real processes.

The Free Spoken Digit Dataset with its official split, the test files of six speakers whom training hears as well. A
resnet of depth 20 is trained here on all training files, as the page says what becomes of them, and handed in; the
student, a resnet of depth 8, gets a tenth of them, as where a teacher comes from somebody with more data. It learns
beside the same student without a teacher, over three seeds. The test files are scored from the downloaded files alone.
"""

import io
import sys
import tarfile
import time
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.canonical import Spectrum
from scripts.proof import SHARED, Prover, compare_with_control, console, prove
from worker.readers.base.spectrum import LogMel
from worker.students import resnet

_DATA = SHARED / "fsdd"
_SEEDS = (0, 1, 2)
_TEACHER: dict[str, Any] = {"type": "resnet", "depth": 20}
_STUDENT: dict[str, Any] = {"type": "resnet", "depth": 8}
#: Recordings 0 to 4 of each speaker and digit are the official test files, 5 to 49 those for training.
_NUM_TEST = 5
#: The student's: recordings 5 to 8 to learn from and 9 to validate, of 45.
_LEARNT, _VALIDATED = range(5, 9), range(9, 10)
_EPOCHS, _TEACHER_EPOCHS, _BATCH = 20, 8, 64
#: Of the student, which has few recordings.
_SMALL_BATCH = 32
#: Half a second, frames every 16 ms: the size of a small image, so that two cores are done in minutes.
_AUDIO = {"seconds": 0.5, "hop_ms": 16, "n_mels": 32}

Recordings = dict[str, bytes]


def main() -> int:
    """The door."""
    return prove("accept-audio", _DATA, _play)


def _play(prover: Prover, folder: Path) -> None:
    started = time.monotonic()
    train, test = _recordings()
    learnt = {name: content for name, content in train.items() if _index(name) in _LEARNT}
    validated = {name: content for name, content in train.items() if _index(name) in _VALIDATED}
    console.print(f"[bold]{len(train):,} recordings for the teacher, {len(learnt):,} for the student[/bold]")
    client = prover.client
    archive = _archive(folder / "digits.zip", train=learnt, val=validated, test=test)
    dataset = client.ready(client.dataset("digits", archive, "audio_classification", audio=_AUDIO))
    spectrum = Spectrum.model_validate(dataset["report"]["spectrum"])
    taught = {name: content for name, content in train.items() if _index(name) not in _VALIDATED}
    figures = _train_teacher(*_features(taught, spectrum), folder / "teacher.pth")
    said = {"preset": "none", "range": [spectrum.low, 0], **figures}
    teacher = client.ready(client.teacher("resnet 20", folder / "teacher.pth", _TEACHER, input=said))
    base = {"teacher": teacher["id"], "dataset": dataset["id"], "student": _STUDENT, "loss": {"type": "kd"}}
    tests = folder / "test"
    for name, content in test.items():
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).write_bytes(content)
    results = []
    for seed in _SEEDS:
        train_spec = {"epochs": _EPOCHS, "batch_size": _SMALL_BATCH, "seed": seed, "control": True}
        body = {**base, "name": f"digits-{seed}", "train": train_spec}
        results.append(prover.run(f"kd, seed {seed}", body, ["wav", str(tests)]))
    compare_with_control(prover, results, "Test accuracy on the official test files")
    heard = results[0]["test"]["teacher"]["accuracy"]
    prover.insist(heard > 0.95, "the teacher hears what it learnt from")
    console.print(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")


def _recordings() -> tuple[Recordings, Recordings]:
    """(train, test) by `DIGIT/DIGIT_SPEAKER_INDEX.wav`."""
    found: Recordings = {}
    with tarfile.open(_DATA / "fsdd.tar.xz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".wav"):
                name, opened = Path(member.name).name, archive.extractfile(member)
                assert opened is not None, "a plain file"
                found[f"{name[0]}/{name}"] = opened.read()
    train = {name: content for name, content in found.items() if _index(name) >= _NUM_TEST}
    return train, {name: content for name, content in found.items() if name not in train}


def _index(name: str) -> int:
    return int(Path(name).stem.rsplit("_", 1)[1])


def _archive(target: Path, **splits: Recordings) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for split, files in splits.items():
            for name, content in files.items():
                archive.writestr(f"{split}/{name}", content)
    return target


def _features(files: Recordings, spectrum: Spectrum) -> tuple[Tensor, Tensor]:
    """(decibels (N, 1, mels, frames), labels (N,)), read and computed as the page says."""
    log_mel = LogMel(spectrum)
    heard = np.stack([log_mel(_samples(content)) for content in files.values()])[:, None]
    labels = torch.tensor([int(name[0]) for name in files])
    return torch.from_numpy(spectrum.low + spectrum.step * heard.astype(np.float32)), labels


def _samples(content: bytes) -> NDArray[np.float64]:
    with wave.open(io.BytesIO(content)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15


def _train_teacher(x: Tensor, y: Tensor, path: Path) -> dict[str, list[float]]:
    """Saves a resnet of depth 20; the mean and deviation of what it learnt from, in decibels."""
    torch.manual_seed(0)
    average, deviation = float(x.mean()), float(x.std())
    net: nn.Module = resnet.build(tuple(x.shape[1:]), 10, depth=_TEACHER["depth"])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = _TEACHER_EPOCHS * -(-len(y) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for epoch in range(_TEACHER_EPOCHS):
        started, total = time.monotonic(), 0.0
        for batch in torch.split(torch.randperm(len(y)), _BATCH):
            loss = F.cross_entropy(net((x[batch] - average) / deviation), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        seconds = time.monotonic() - started
        console.print(f"  epoch {epoch + 1}/{_TEACHER_EPOCHS}: loss {total / len(y):.3f}, {seconds:.0f} s")
    torch.save(net.state_dict(), path)
    return {"mean": [average], "std": [deviation]}


if __name__ == "__main__":
    sys.exit(main())

"""Shift and masks of spectrograms as a pure function of (seed, epoch, sample id)."""

import pytest
import torch
from torch import Tensor

from models.canonical import DatasetMeta, Spectrum
from models.spec.training import Augment, Train
from worker.engine.sound_augment import SoundAugmentation
from worker.engine.task import make_task

SPECTRUM = Spectrum(sample_rate=8000, samples=1000, window=200, hop=80, fft=256, mels=12)
DATA = DatasetMeta(
    task="audio_classification",
    counts={},
    input_shape=(1, 12, 11),
    num_outputs=2,
    mean=[0.5],
    std=[0.1],
    spectrum=SPECTRUM,
)
MEAN = 128


def spectra(n: int = 60) -> Tensor:
    x = torch.randint(1, 100, (n, 1, 12, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last)


def change(seed: int = 0, **chosen: int) -> SoundAugmentation:
    return SoundAugmentation(Augment(**chosen), MEAN, seed)


def test_each_is_moved_whole_and_silence_follows() -> None:
    x, ids = spectra(400), torch.arange(400)
    seen = set()
    for before, after in zip(x, change(time_shift=3)(x, ids, 0), strict=True):
        moved = {by: torch.zeros_like(before) for by in range(-3, 4)}
        for by, out in moved.items():
            out[..., max(0, by) : 11 + min(0, by)] = before[..., max(0, -by) : 11 - max(0, by)]
        [by] = [by for by, out in moved.items() if torch.equal(out, after)]
        seen.add(by)
    assert seen == set(range(-3, 4))


@pytest.mark.parametrize(("name", "dim"), [("time_mask", 3), ("mel_mask", 2)])
def test_a_stretch_of_any_length_is_blotted_out_and_nothing_else(name: str, dim: int) -> None:
    x, ids = spectra(600), torch.arange(600)
    after = change(**{name: 4})(x, ids, 0)
    masked = (after == MEAN).all(dim=5 - dim).squeeze(1)  # (N, length)
    assert torch.equal(after != x, masked.unsqueeze(1).unsqueeze(5 - dim).expand_as(x))
    widths = masked.sum(1)
    assert set(widths.tolist()) == {0, 1, 2, 3, 4}
    edges = torch.nn.functional.pad(masked.int(), (1, 1)).diff(dim=1).abs().sum(1)
    assert set(edges.tolist()) == {0, 2}, "one stretch"
    assert (masked.sum(0) > 0).all(), "any place"


def test_it_hangs_on_seed_epoch_and_sample_alone() -> None:
    x, ids = spectra(), torch.arange(60) * 7 + 3
    all_of_it = {"time_shift": 3, "time_mask": 4, "mel_mask": 5}
    whole = change(**all_of_it)(x, ids, 4)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(change(**all_of_it)(x[order], ids[order], 4), whole[order])
    assert torch.equal(change(**all_of_it)(x[7:9], ids[7:9], 4), whole[7:9])
    assert not torch.equal(change(**all_of_it)(x, ids, 5), whole)
    assert not torch.equal(change(1, **all_of_it)(x, ids, 4), whole)
    assert change(**all_of_it).content != change(**{**all_of_it, "mel_mask": 6}).content
    assert torch.equal(x, spectra()), "what is given stays as it is"


def test_the_task_changes_nothing_unless_it_is_asked_to() -> None:
    for plain in ("auto", "none", Augment(crop=2, flip=True)):
        assert make_task(DATA, Train(augment=plain)).augmentation() is None
    asked = make_task(DATA, Train(augment=Augment(mel_mask=2), seed=9)).augmentation()
    assert asked is not None
    assert asked.content == {"time_shift": 0, "time_mask": 0, "mel_mask": 2, "mean": MEAN, "seed": 9}

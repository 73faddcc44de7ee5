"""Class folders of recordings, and what becomes of them: bytes of log-mel that a few lines of the page repeat."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.canonical import Spectrum
from scripts.corpus.sounds import folders, tone, wav
from tests.worker.readers.uploads import IMAGES, SOUNDS, accept, grey, refuse, tarred, zipped
from worker.readers.base.limits import LIMITS
from worker.readers.base.spectrum import LogMel, filters

PAGE = Path(__file__).resolve().parents[3] / "docs" / "data.md"
SPECTRUM = Spectrum(sample_rate=8000, samples=4000, window=200, hop=80, fft=256, mels=40)


def of_the_page() -> Callable[[NDArray[np.float64], dict[str, Any]], NDArray[np.uint8]]:
    """The function that docs/data.md shows."""
    [code] = re.findall(r"```python\n(import numpy as np\n.*?def log_mel.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[[NDArray[np.float64], dict[str, Any]], NDArray[np.uint8]] = names["log_mel"]
    return found


def decibels(samples: NDArray[np.float64], spectrum: Spectrum) -> NDArray[np.float64]:
    """The features before they are bytes, frame by frame and bin by bin: the definition, slowly."""
    k, n = np.arange(spectrum.fft // 2 + 1)[:, None], np.arange(spectrum.window)
    hann = np.sin(np.pi * n / spectrum.window) ** 2
    transform = np.exp(-2j * np.pi * k * n / spectrum.fft)
    out = np.empty((spectrum.mels, spectrum.frames))
    for frame in range(spectrum.frames):
        start = frame * spectrum.hop
        bins = transform @ (samples[start : start + spectrum.window] * hann)
        power = 2 * np.abs(bins) ** 2 / spectrum.fft / np.square(hann).sum()
        out[:, frame] = 10 * np.log10(np.maximum(filters(spectrum) @ power, 1e-30))
    return out


@pytest.mark.parametrize(
    "spectrum",
    [
        SPECTRUM,
        Spectrum(sample_rate=44_100, samples=9000, window=1102, hop=441, fft=2048, mels=64),
        Spectrum(sample_rate=4000, samples=128, window=128, hop=128, fft=128, mels=8),
    ],
)
def test_a_byte_is_the_feature_to_a_fifth_of_a_decibel(spectrum: Spectrum) -> None:
    rng = np.random.default_rng(0)
    loudness = 10 ** rng.uniform(-5, 0, spectrum.samples)  # from the noise of 16 bits to full scale
    samples = rng.uniform(-1, 1, spectrum.samples) * loudness
    exact, found = decibels(samples, spectrum), LogMel(spectrum)(samples)
    assert found.shape == (spectrum.mels, spectrum.frames)
    assert exact.max() <= 0, "0 dB is the most there can be"
    error = np.abs(spectrum.low + spectrum.step * found - exact.clip(spectrum.low))
    assert 0.15 < error.max() <= 0.2 + 1e-9
    assert np.array_equal(of_the_page()(samples, spectrum.model_dump())[0], found), "the page computes the same"


def test_a_sine_of_full_scale_is_3_decibels_under_the_most() -> None:
    n = np.arange(4000)
    loud = LogMel(SPECTRUM)(np.sin(2 * np.pi * 1000 / 8000 * n))
    power = 10 ** ((SPECTRUM.low + SPECTRUM.step * loud[:, 10:40].astype(np.float64)) / 10)
    np.testing.assert_allclose(power.sum(axis=0), 0.5, rtol=0.05)
    [band] = set(loud[:, 10:40].argmax(axis=0))
    corners = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42)
    assert corners[band] < 2595 * np.log10(1 + 1000 / 700) < corners[band + 2]
    assert not LogMel(SPECTRUM)(np.zeros(10)).any(), "silence is 0"


def test_short_ones_are_filled_up_and_long_ones_cut_and_parts_join(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 6000)
    whole = LogMel(SPECTRUM)(noise)
    assert np.array_equal(whole, LogMel(SPECTRUM)(noise[:4000]))
    assert np.array_equal(LogMel(SPECTRUM)(noise[:1000]), LogMel(SPECTRUM)(np.append(noise[:1000], np.zeros(3000))))
    monkeypatch.setattr("worker.readers.base.spectrum._BLOCK_VALUES", 1000)
    assert np.array_equal(LogMel(SPECTRUM)(noise), whole)


def test_recordings_become_images_that_tell_how_they_came_about(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped(folders(10)), SOUNDS)
    assert ready.meta.task == "audio_classification"
    assert ready.meta.classes == ["a", "b"]
    assert ready.meta.spectrum == Spectrum(sample_rate=8000, samples=800, window=200, hop=80, fft=256, mels=40)
    assert ready.meta.input_shape == (1, 40, 8) == (1, ready.meta.spectrum.mels, ready.meta.spectrum.frames)
    assert ready.x.dtype == np.uint8
    assert ready.report["format"] == "audio_folder"
    assert ready.report["spectrum"] == ready.meta.spectrum.model_dump()
    assert ready.report["first_rows"][:2] == ["a/0.wav", "a/1.wav"]
    stored = np.rint(tone(310)[:, 0] * 2**15) / 2**15
    assert np.array_equal(ready.x[1], of_the_page()(stored, ready.report["spectrum"]))
    train = ready.x[ready.split == 0] / 255
    assert (ready.meta.mean[0], ready.meta.std[0]) == pytest.approx((train.mean(), train.std()))
    assert "sound_length" not in ready.warnings()
    again = accept(tmp_path / "y", tarred(dict(reversed(folders(10).items())), "gz"), SOUNDS)
    assert np.array_equal(again.x, ready.x), "the same whatever the archive"


def test_the_folders_are_those_of_images(tmp_path: Path) -> None:
    files = {**folders(5, "set/train/"), **folders(2, "set/val/"), **folders(3, "set/test/")}
    files |= {"set/README.md": b"hello", "set/train/a/notes.txt": b"hello", "__MACOSX/x.wav": b"x"}
    ready = accept(tmp_path / "x", zipped(files), SOUNDS)
    assert ready.meta.counts == {"train": 10, "val": 4, "test": 6}
    assert [line["name"] for line in ready.report["ignored"]["listed"]] == ["set/README.md", "set/train/a/notes.txt"]
    few = {**folders(10), **{f"unlabelled/{i}.wav": wav(tone(600)) for i in range(10)}}
    ready = accept(tmp_path / "y", zipped(few), SOUNDS, labels="partial")
    assert ready.y.tolist() == [0] * 10 + [1] * 10 + [-1] * 10
    assert refuse(tmp_path / "z", zipped({"1.wav": wav(tone()), "2.wav": wav(tone())}), SOUNDS).code == "layout"


def test_a_length_is_found_such_that_nearly_all_are_kept_whole(tmp_path: Path) -> None:
    lengths = [0.05, 0.06, *[0.1] * 16, 0.2, 3.0]
    files = {f"{c}/{i:02}.wav": wav(tone(400, s)) for c in "ab" for i, s in enumerate(lengths)}
    ready = accept(tmp_path / "x", zipped(files), SOUNDS)
    assert ready.report["spectrum"]["samples"] == 1600
    warning = ready.warnings()["sound_length"]
    assert "2 lose their end and 36 are filled up" in warning
    asked = accept(tmp_path / "y", zipped(files), SOUNDS, audio={"seconds": 3.0, "n_mels": 16, "hop_ms": 25})
    assert asked.meta.input_shape == (1, 16, 1 + (24_000 - 200) // 200)
    short = accept(tmp_path / "z", zipped(folders(6, seconds=0.01)), SOUNDS)
    assert short.meta.input_shape == (1, 40, 1), "one window at least"


@pytest.mark.parametrize("seconds", [0.02, 20.0])
def test_a_length_has_to_hold_a_frame_and_not_too_many(tmp_path: Path, seconds: float) -> None:
    refused = refuse(tmp_path / "x", zipped(folders(6)), SOUNDS, audio={"seconds": seconds})
    assert refused.code == "sound_length"
    assert refused.pointers == ["/audio/seconds"]
    assert "say 0.025 to 10.255 s" in refused.detail


def test_several_rates_are_refused_and_a_few_strays_left_out(tmp_path: Path) -> None:
    strays = {f"{c}/x{i}.wav": wav(tone(rate=16_000), 16_000) for c in "ab" for i in range(5)}
    refused = refuse(tmp_path / "x", zipped({**folders(20), **strays}), SOUNDS)
    assert refused.code == "sample_rate"
    assert refused.pointers == ["/audio/sample_rate"]
    assert "40 of 8000 Hz, 10 of 16000 Hz" in refused.detail
    assert "sox in.wav -r 8000 out.wav" in refused.detail
    ready = accept(tmp_path / "y", zipped({**folders(20), **strays}), SOUNDS, max_bad_share=0.2)
    assert ready.report["bad_rows"]["count"] == 10
    assert ready.report["bad_rows"]["listed"][0]["reason"] == "has 16000 samples a second, the others 8000"
    asked = refuse(tmp_path / "z", zipped(folders(20)), SOUNDS, audio={"sample_rate": 16_000})
    assert asked.code == "sample_rate"


def test_bands_without_a_frequency_are_refused(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped(folders(6)), SOUNDS, audio={"n_mels": 128})
    assert refused.code == "features"
    assert refused.pointers == ["/audio/n_mels"]
    accept(tmp_path / "y", zipped(folders(6)), SOUNDS, audio={"n_mels": 128, "window_ms": 100})


def test_files_that_only_call_themselves_recordings_are_bad_rows(tmp_path: Path) -> None:
    files = {**folders(100), "a/x.wav": b"la la la", "b/y.mp3": b"ID3\3" + bytes(300)}
    ready = accept(tmp_path / "x", zipped(files), SOUNDS)
    assert {line["name"] for line in ready.report["bad_rows"]["listed"]} == {"a/x.wav", "b/y.mp3"}
    only = refuse(
        tmp_path / "y", zipped({f"{c}/{i}.flac": b"fLaC" + bytes(99) for c in "ab" for i in range(9)}), SOUNDS
    )
    assert only.report["format"] == "audio_folder"
    assert "a FLAC file: save it as WAV with 16-bit PCM" in only.detail


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    small = replace(LIMITS, max_sound_bytes=1000)
    assert "1644 bytes; the limit is 1000" in refuse(tmp_path / "x", zipped(folders(6)), SOUNDS, small).detail
    few = refuse(tmp_path / "y", zipped(folders(6)), SOUNDS, replace(LIMITS, max_canonical_bytes=1000))
    assert few.code == "too_large"
    assert few.pointers == ["/audio/hop_ms"]


def test_sounds_and_images_are_told_apart(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", zipped(folders(6)), IMAGES).code == "task"
    pictures = {f"{c}/{i}.png": grey(i) for c in "ab" for i in range(6)}
    assert refuse(tmp_path / "y", zipped(pictures), SOUNDS).code == "task"
    assert refuse(tmp_path / "z", zipped(folders(6)), SOUNDS, split={"column": "s"}).code == "split"
    ready = accept(tmp_path / "w", zipped(folders(10)), SOUNDS, image={"size": [8, 8]}, format="audio_folder")
    assert "`image`" in ready.warnings()["unused"]

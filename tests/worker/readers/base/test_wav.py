"""WAV files of every form give the samples that were put in; what lies or is broken gives a reason."""

import io
import wave
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.corpus.sounds import (
    EXTENSIBLE,
    FLOAT,
    PCM,
    chunk,
    encoded,
    extension,
    form_chunk,
    riff,
    tone,
    wav,
)
from worker.readers.base.limits import LIMITS
from worker.readers.base.wav import BadSound, header, samples

NOISE = np.random.default_rng(0).uniform(-1, 1, (500, 2))
PCM_16 = chunk(b"data", encoded(tone()))


def read(content: bytes, num: int = 10**9) -> NDArray[np.float64]:
    return samples(content, num, LIMITS)


@pytest.mark.parametrize(
    ("bits", "form", "step"),
    [
        (8, PCM, 2**-7),
        (16, PCM, 2**-15),
        (24, PCM, 2**-23),
        (32, PCM, 2**-31),
        (32, FLOAT, 2**-24),
        (64, FLOAT, 2**-52),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_come_back_to_half_a_step(bits: int, form: int, step: float, channels: int) -> None:
    given = NOISE[:, :channels] * 0.99
    np.testing.assert_allclose(read(wav(given, bits=bits, form=form)), given.mean(axis=1), atol=0.51 * step, rtol=0)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_it_reads_what_python_writes(width: int) -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, width, 16_000, 0, "NONE", ""))
        file.writeframes(encoded([-1.0, -0.5, 0.0, 0.5], 8 * width))
    assert read(out.getvalue()).tolist() == [-1.0, -0.5, 0.0, 0.5]
    assert header(out, len(out.getvalue()), LIMITS).rate == 16_000 if out.seek(0) == 0 else True


@pytest.mark.parametrize(("bits", "form", "valid"), [(16, PCM, 16), (32, PCM, 24), (32, FLOAT, 32), (24, PCM, 0)])
def test_the_extensible_form_is_that_of_its_guid(bits: int, form: int, valid: int) -> None:
    said = form_chunk(bits=bits, form=EXTENSIBLE, extension=extension(form, valid))
    found = read(riff(said, chunk(b"data", encoded(NOISE[:, 0], bits, form))))
    np.testing.assert_allclose(found, NOISE[:, 0], atol=2**-15)


def test_only_the_first_samples_are_decoded_and_blocks_join(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(wav(NOISE, bits=24))
    monkeypatch.setattr("worker.readers.base.wav._BLOCK_BYTES", 100)
    assert np.array_equal(read(wav(NOISE, bits=24)), whole)
    assert np.array_equal(read(wav(NOISE, bits=24), 77), whole[:77])


def test_other_chunks_are_stepped_over_and_what_is_behind_is_not_looked_at() -> None:
    odd = riff(chunk(b"bext", b"123"), form_chunk(), chunk(b"LIST", bytes(7)), PCM_16, chunk(b"id3 ", b"x"))
    assert np.array_equal(read(odd + b"anything"), read(wav(tone())))


def test_a_header_needs_nothing_but_itself() -> None:
    content = riff(form_chunk(), chunk(b"LIST", bytes(1000)), chunk(b"data", bytes(20_000)))

    class Counting(io.BytesIO):
        num = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Counting.num += len(data)
            return data

    found = header(Counting(content), len(content), LIMITS)
    assert (found.rate, found.channels, found.num, found.bits) == (8000, 1, 10_000, 16)
    assert Counting.num < 100


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (wav(tone())[:-1], "claims 1644 bytes and has 1643: cut short"),
        (riff(form_chunk(), PCM_16, size=2**32 - 1), "does not say how long it is"),
        (riff(form_chunk(), chunk(b"data", bytes(10), 12)), "claims 12 bytes of samples, and 10 are left"),
        (riff(form_chunk(channels=0), PCM_16), "has 0 channels; 1 to 64"),
        (riff(form_chunk(channels=65), PCM_16), "has 65 channels"),
        (riff(form_chunk(rate=3999), PCM_16), "3999 samples a second; 4000 to 192000 are read: resample it"),
        (riff(form_chunk(rate=192_001), PCM_16), "192001 samples a second"),
        (riff(form_chunk(bits=20, frame_bytes=3), PCM_16), "PCM of 20 bits; read are 8, 16, 24, 32"),
        (riff(form_chunk(form=7, bits=8), PCM_16), "are mu-law: save it as WAV with 16-bit PCM"),
        (riff(form_chunk(frame_bytes=4), PCM_16), "claims 4 bytes for 1 samples of 16 bits"),
        (riff(form_chunk(bits=24), chunk(b"data", bytes(10))), "end within a sample of 3"),
        (riff(form_chunk(), form_chunk(), PCM_16), "two chunks say"),
        (riff(PCM_16), "nothing before the samples says"),
        (riff(form_chunk(), chunk(b"LIST", b"", 5), PCM_16[:3]), "chunk 'LIST' claims 5 bytes, and 3 are left"),
        (riff(form_chunk()), "there is no chunk `data`"),
        (wav(np.zeros(0)), "holds no samples"),
        (wav([0.0, np.inf], bits=32, form=FLOAT), "not finite"),
        (riff(form_chunk(bits=32, form=FLOAT), chunk(b"data", b"\1\0\xa0\x7f")), "not finite"),  # a NaN that signals
        (wav([0.0, -20_000.0], bits=32, form=FLOAT), "samples up to 20000; floats run from -1 to 1"),
        (riff(form_chunk(), PCM_16, mark=b"RF64"), "an RF64 file"),
        (b"fLaC" + bytes(100), "a FLAC file: save it"),
        (b"", "not a WAV file"),
    ],
)
def test_what_is_broken_says_why(content: bytes, why: str) -> None:
    with pytest.raises(BadSound, match=why):
        read(content)


def test_chunks_are_counted() -> None:
    content = riff(form_chunk(), chunk(b"junk", b"") * 9, PCM_16)
    assert header(io.BytesIO(content), len(content), replace(LIMITS, max_chunks=11)).num == 800
    with pytest.raises(BadSound, match="more than 10 chunks"):
        header(io.BytesIO(content), len(content), replace(LIMITS, max_chunks=10))

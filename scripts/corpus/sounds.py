"""Recordings in archives: WAV files whose headers lie, that are none, or that cost; and good ones of every form."""

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scripts.corpus.archives import tarred, zipped
from scripts.corpus.case import SOUNDS, Canary, Case

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def cases(_canary: Canary) -> Iterator[Case]:
    """All of this file."""
    for name, make in _bad().items():
        yield Case("recordings that lie or are none", name, make, "dataset", SOUNDS)
    yield from good()


def good() -> Iterator[Case]:
    """What has to be accepted."""
    for name, make in _good().items():
        yield Case("good recordings", name, make, "dataset", SOUNDS, "accepted")


def tone(hertz: float = 440.0, seconds: float = 0.1, rate: int = 8000, channels: int = 1) -> NDArray[np.float64]:
    """(n, channels) in -1 to 1."""
    one = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(one[:, None], channels, axis=1)


def encoded(values: ArrayLike, bits: int = 16, form: int = PCM) -> bytes:
    """Samples as a WAV file stores them, of any shape, in -1 to 1."""
    values = np.asarray(values, np.float64)
    if form == FLOAT:
        return values.astype(f"<f{bits // 8}").tobytes()
    whole = np.clip(np.rint(values * 2.0 ** (bits - 1)), -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1).astype("<i8")
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    return whole.reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    """One chunk; `length` is what it claims."""
    claimed = len(content) if length is None else length
    return name + struct.pack("<I", claimed) + content + b"\0" * (len(content) % 2)


def form_chunk(
    channels: int = 1,
    rate: int = 8000,
    bits: int = 16,
    form: int = PCM,
    frame_bytes: int | None = None,
    extension: bytes = b"",
) -> bytes:
    """The chunk that says what form the samples have."""
    size = channels * bits // 8 if frame_bytes is None else frame_bytes
    each = struct.pack("<HHIIHH", form, channels, rate, rate * size % 2**32, size % 2**16, bits)
    return chunk(b"fmt ", each + extension)


def extension(form: int = PCM, valid: int = 16, tail: bytes = _GUID_TAIL) -> bytes:
    """What follows in the extensible form."""
    return struct.pack("<HHIH", 22, valid, 0, form) + tail


def riff(*chunks: bytes, size: int | None = None, mark: bytes = b"RIFF", kind: bytes = b"WAVE") -> bytes:
    """A file of these chunks; `size` is what it claims."""
    body = kind + b"".join(chunks)
    return mark + struct.pack("<I", len(body) if size is None else size) + body


def wav(values: ArrayLike, rate: int = 8000, bits: int = 16, form: int = PCM) -> bytes:
    """A WAV file of samples (n,) or (n, channels)."""
    values = np.asarray(values)
    channels = values.shape[1] if values.ndim == 2 else 1
    return riff(form_chunk(channels, rate, bits, form), chunk(b"data", encoded(values, bits, form)))


def folders(num: int = 12, top: str = "", seconds: float = 0.1, **options: Any) -> dict[str, bytes]:
    """`num` recordings for each of two classes, low tones and high ones."""
    return {
        f"{top}{name}/{i}.wav": wav(tone(at + 10 * i, seconds), **options)
        for name, at in (("a", 300), ("b", 900))
        for i in range(num)
    }


def _same(content: bytes) -> Callable[[], bytes]:
    return partial(zipped, {f"{name}/{i}.wav": content for name in "ab" for i in range(12)})


def _bad() -> dict[str, Callable[[], bytes]]:
    pcm = encoded(tone())
    said, data = form_chunk(), chunk(b"data", pcm)
    whole, nothing = riff(said, data), struct.pack("<I", 0)
    ext = partial(form_chunk, form=EXTENSIBLE)

    def floats(value: float, bits: int = 32) -> bytes:
        values = tone()
        values[7] = value
        return wav(values, bits=bits, form=FLOAT)

    bad: dict[str, bytes] = {
        "longer by its header than it is": riff(said, data, size=len(whole) + 100),
        "of length 0 by its header": riff(said, data, size=0),
        "of unknown length, as written to a pipe": riff(said, chunk(b"data", pcm, 2**32 - 1), size=2**32 - 1),
        "4 GiB of samples claimed": riff(said, chunk(b"data", pcm, 2**32 - 2)),
        "samples that reach beyond the file's own end": riff(said, data, size=len(whole) - 200),
        "cut off in its samples": whole[:-100], "cut off in its header": whole[:30], "a mark alone": whole[:12],
        "no channels": riff(form_chunk(channels=0), data), "65,535 channels": riff(form_chunk(channels=65_535), data),
        "0 samples a second": riff(form_chunk(rate=0), data),
        "4 billion samples a second": riff(form_chunk(rate=2**32 - 1), data),
        "12 bits": riff(form_chunk(bits=12, frame_bytes=2), data), "no bits": riff(form_chunk(bits=0), data),
        "65,535 bits": riff(form_chunk(bits=65_535, frame_bytes=8191), data),
        "floats of 16 bits": riff(form_chunk(form=FLOAT), data),
        "samples of another size than its bits say": riff(form_chunk(frame_bytes=7), data),
        "samples of no size": riff(form_chunk(frame_bytes=0), data),
        "ends within a sample": riff(form_chunk(bits=24), chunk(b"data", bytes(301))),
        "no word of the form": riff(data), "the form after the samples": riff(data, said),
        "two forms": riff(said, form_chunk(bits=8), data), "a form of 4 bytes": riff(chunk(b"fmt ", pcm[:4]), data),
        "a chunk of 4 GiB before the samples": riff(said, chunk(b"LIST", b"INFO", 2**32 - 1), data),
        "100,000 chunks before the samples": riff(said, (b"junk" + nothing) * 100_000, data),
        "no samples": riff(said), "samples of 0 bytes": riff(said, chunk(b"data", b"")),
        "an extensible header cut short": riff(ext(extension=b"\x16\0\x10\0"), data),
        "an extensible form that is none": riff(ext(extension=extension(tail=b"\xff" * 14)), data),
        "an extensible form in itself": riff(ext(extension=extension(EXTENSIBLE)), data),
        "more valid bits than bits": riff(ext(extension=extension(valid=999)), data),
        "A-law": riff(form_chunk(form=6, bits=8), data), "ADPCM": riff(form_chunk(form=2, bits=4), data),
        "MP3 in a WAV file": riff(form_chunk(form=0x55, bits=0), data),
        "NaN": floats(np.nan), "infinite": floats(-np.inf), "of 1e38": floats(1e38), "of 1e300": floats(1e300, 64),
        "big-endian": riff(said, data, mark=b"RIFX"), "RF64": riff(said, data, mark=b"RF64", size=2**32 - 1),
        "a WebP picture": riff(said, data, kind=b"WEBP"), "an AVI film": riff(said, data, kind=b"AVI "),
        "FLAC": b"fLaC" + bytes(400), "Ogg": b"OggS\0\2" + bytes(400), "MP3": b"ID3\3\0\0" + bytes(400),
        "a program": b"\x7fELF" + bytes(400), "text": b"la la la\n" * 40, "empty": b"",
    }  # fmt: skip
    made = {f"every recording {name}": _same(content) for name, content in bad.items()}
    rates = {**folders(6), **{f"{c}/x{i}.wav": wav(tone(), rate=11_025) for c in "ab" for i in range(4)}}
    comment = riff(said, chunk(b"LIST", bytes(40_000_000)), data)
    return made | {
        "every second recording cut off": partial(zipped, {**folders(6), **_cut(folders(12))}),
        "several rates": partial(zipped, rates),
        "480 MB of comment that unpack from 500 kB": partial(
            zipped, {f"{c}/{i}.wav": comment for c in "ab" for i in range(6)}
        ),
        "a single recording, without folders": lambda: whole,
    }


def _cut(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.replace(".wav", "x.wav"): content[:-40] for name, content in files.items()}


def _good() -> dict[str, Callable[[], bytes]]:
    pcm = encoded(tone())
    said, data = form_chunk(), chunk(b"data", pcm)
    valid = riff(
        form_chunk(form=EXTENSIBLE, bits=32, extension=extension(valid=24)), chunk(b"data", encoded(tone(), 32))
    )
    floats = form_chunk(form=EXTENSIBLE, bits=32, extension=extension(FLOAT, 32))
    odd = encoded(tone(), 24)[:-3]
    comments = riff(said, chunk(b"LIST", bytes(9)), data, chunk(b"id3 ", bytes(7)))
    lengths = {f"{c}/{i}.wav": wav(tone(f, 0.05 + 0.02 * i)) for c, f in (("a", 300), ("b", 900)) for i in range(12)}
    parts = ("train", "val", "test")
    return {
        "16 bits": partial(zipped, folders()),
        "8 bits": partial(zipped, folders(bits=8)),
        "24 bits": partial(zipped, folders(bits=24)),
        "32 bits": partial(zipped, folders(bits=32)),
        "floats of 32 bits": partial(zipped, folders(bits=32, form=FLOAT)),
        "floats of 64 bits": partial(zipped, folders(bits=64, form=FLOAT)),
        "extensible": _same(riff(form_chunk(form=EXTENSIBLE, extension=extension()), data)),
        "extensible, 24 valid bits of 32": _same(valid),
        "extensible floats": _same(riff(floats, chunk(b"data", encoded(tone(), 32, FLOAT)))),
        "stereo": _same(wav(tone(channels=2))),
        "six channels of 24 bits": _same(wav(tone(channels=6), bits=24)),
        "44,100 Hz": partial(zipped, {f"{c}/{i}.wav": wav(tone(rate=44_100), 44_100) for c in "ab" for i in range(12)}),
        "4,000 Hz": partial(zipped, folders(rate=4000)),
        "comments before and after the samples": _same(comments),
        "2 MB of comment before the samples": _same(riff(said, chunk(b"LIST", bytes(2_000_000)), data)),
        "an odd number of bytes, not filled up": _same(riff(form_chunk(bits=24), chunk(b"data", odd)[:-1])),
        "something behind its end": _same(riff(said, data) + b"TAG" + bytes(125)),
        "several lengths": partial(zipped, lengths),
        "a single sample each": _same(wav([0.5])),
        "tar.gz": partial(tarred, folders(), compression="gz"),
        "train, val and test folders": partial(
            zipped, {f"{part}/{name}": content for part in parts for name, content in folders(6).items()}
        ),
    }  # fmt: skip

"""Reads one WAV file strictly: PCM of 8, 16, 24 or 32 bits and floats of 32 or 64, plain or extensible.

A size that a file states is believed only where the file is that long. Chunks that are no samples are stepped over,
never read. Python's own `wave` knows neither floats nor, before 3.12, the extensible form.
Sources: IBM and Microsoft, Multimedia Programming Interface and Data Specifications 1.0 (1991), section "RIFF Waveform
Audio File Format"; Microsoft, "Multiple Channel Audio Data and WAVE Files" (WAVEFORMATEXTENSIBLE, its GUIDs).
"""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from worker.readers.base.files import BadFile
from worker.readers.base.limits import Limits

_HEADER, _CHUNK = struct.Struct("<4sI4s"), struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
#: Size of the extension, valid bits, which loudspeakers, the form of the samples as a GUID.
_EXTENSION = struct.Struct("<HHI16s")
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_OTHER_FORMS = {
    2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x50: "MPEG", 0x55: "MP3", 0xF1AC: "FLAC",
}  # fmt: skip
_OTHER_FILES = {
    b"RIFX": "a big-endian WAV file", b"RF64": "an RF64 file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file",
    b"FORM": "an AIFF file", b".snd": "an AU file", b"ID3\x02": "an MP3 file", b"ID3\x03": "an MP3 file",
    b"ID3\x04": "an MP3 file",
}  # fmt: skip
#: What a program writes for a size where it cannot go back to put the true one in.
_UNKNOWN = 0xFFFFFFFF
#: Floats run from -1 to 1, a little beyond after mixing. What is far beyond has another scale, which nothing tells.
_MAX_FLOAT = 16.0
#: As numbers a block takes eight times as much.
_BLOCK_BYTES = 2**20
_SAVE = "save it as WAV with 16-bit PCM"


class BadSound(BadFile):
    """Why a file gives no samples, in words for the report."""


@dataclass(frozen=True, slots=True)
class Wav:
    """What a file's header says, checked against its length. start: the byte at which the samples begin."""

    rate: int
    channels: int
    num: int
    form: int
    bits: int
    start: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one moment: a sample for each channel."""
        return self.channels * self.bits // 8


def header(stream: BinaryIO, size: int, limits: Limits) -> Wav:
    """Of a file of `size` bytes, the samples themselves not read. Raises: BadSound."""
    end = _riff_end(stream, size)
    at, found = _HEADER.size, None
    for _ in range(limits.max_chunks):
        if at + _CHUNK.size > end:
            break
        stream.seek(at)
        name, length = _CHUNK.unpack(_exactly(stream, _CHUNK.size))
        at += _CHUNK.size
        if name == b"data":
            return _with_data(found, at, length, end)
        if length > end - at:
            raise BadSound(f"chunk {_shown(name)} claims {length} bytes, and {end - at} are left: cut short or damaged")
        if name == b"fmt ":
            if found is not None:
                raise BadSound("two chunks say what form the samples have")
            found = _format(_exactly(stream, min(length, _FORMAT.size + _EXTENSION.size)), limits)
        at += length + length % 2
    else:
        raise BadSound(f"more than {limits.max_chunks} chunks before the samples, the limit")
    raise BadSound("holds no samples: there is no chunk `data`")


def samples(data: bytes, num: int, limits: Limits) -> NDArray[np.float64]:
    """The first `num` samples, or all, in -1 to 1: the mean of the channels. Raises: BadSound."""
    wav = header(io.BytesIO(data), len(data), limits)
    out = np.empty(min(num, wav.num))
    step = max(1, _BLOCK_BYTES // wav.frame_bytes)
    for first in range(0, len(out), step):
        block = out[first : first + step]
        raw = np.frombuffer(data, np.uint8, len(block) * wav.frame_bytes, wav.start + first * wav.frame_bytes)
        values = _floats(raw, wav.bits) if wav.form == _FLOAT else _integers(raw, wav.bits)
        values.reshape(len(block), wav.channels).mean(axis=1, out=block)
    return out


def _riff_end(stream: BinaryIO, size: int) -> int:
    """Where the file ends by its own word; what follows is not looked at."""
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        known = next((words for mark, words in _OTHER_FILES.items() if head.startswith(mark)), "not a WAV file")
        raise BadSound(f"{known}: {_SAVE}")
    end = 8 + int.from_bytes(head[4:8], "little")
    if end - 8 in (0, _UNKNOWN):
        raise BadSound("its header does not say how long it is, as where a program writes into a pipe: write to a file")
    if end > size:
        raise BadSound(f"claims {end} bytes and has {size}: cut short or damaged")
    return end


def _format(chunk: bytes, limits: Limits) -> Wav:
    if len(chunk) < _FORMAT.size:
        raise BadSound(f"its chunk `fmt ` has {len(chunk)} bytes and needs {_FORMAT.size}")
    form, channels, rate, _, frame_bytes, bits = _FORMAT.unpack_from(chunk)
    if form == _EXTENSIBLE:
        form = _extended(chunk[_FORMAT.size :], bits)
    if form not in _BITS:
        raise BadSound(f"its samples are {_OTHER_FORMS.get(form, f'of form {form}')}: {_SAVE}")
    if bits not in _BITS[form]:
        read = ", ".join(map(str, _BITS[form]))
        raise BadSound(f"its samples are {'floats' if form == _FLOAT else 'PCM'} of {bits} bits; read are {read}")
    if not 1 <= channels <= limits.max_channels:
        raise BadSound(f"has {channels} channels; 1 to {limits.max_channels} are read")
    if not limits.min_sample_rate <= rate <= limits.max_sample_rate:
        raise BadSound(
            f"has {rate} samples a second; {limits.min_sample_rate} to {limits.max_sample_rate} are read: resample it"
        )
    wav = Wav(rate, channels, 0, form, bits, 0)
    if frame_bytes != wav.frame_bytes:
        raise BadSound(f"claims {frame_bytes} bytes for {channels} samples of {bits} bits: damaged")
    return wav


def _extended(extension: bytes, bits: int) -> int:
    """The form that an extensible header names."""
    if len(extension) < _EXTENSION.size:
        raise BadSound("its extensible header is cut short")
    length, valid, _, guid = _EXTENSION.unpack_from(extension)
    if length < _EXTENSION.size - 2 or guid[2:] != _GUID_TAIL:
        raise BadSound(f"its extensible header names a form that is none: {_SAVE}")
    if valid > bits:
        raise BadSound(f"claims {valid} valid bits in samples of {bits}: damaged")
    return int.from_bytes(guid[:2], "little")


def _with_data(found: Wav | None, at: int, length: int, end: int) -> Wav:
    if found is None:
        raise BadSound("nothing before the samples says what form they have")
    if length > end - at:
        raise BadSound(f"claims {length} bytes of samples, and {max(0, end - at)} are left: cut short or damaged")
    num, rest = divmod(length, found.frame_bytes)
    if rest:
        raise BadSound(
            f"its {length} bytes of samples end within a sample of {found.frame_bytes}: cut short or damaged"
        )
    if not num:
        raise BadSound("holds no samples")
    return Wav(found.rate, found.channels, num, found.form, found.bits, at)


def _integers(raw: NDArray[np.uint8], bits: int) -> NDArray[np.float64]:
    """Bytes to -1 to 1. Of 8 bits they are unsigned, else signed and little-endian."""
    if bits == 8:
        return (raw.astype(np.float64) - 128.0) / 128.0
    if bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = raw.reshape(-1, 3)
        raw, bits = wide.reshape(-1), 32
    values: NDArray[np.float64] = raw.view(f"<i{bits // 8}").astype(np.float64)
    return values / 2.0 ** (bits - 1)


def _floats(raw: NDArray[np.uint8], bits: int) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # NaN that signals; it is looked for below
        values: NDArray[np.float64] = raw.view(f"<f{bits // 8}").astype(np.float64)
    if not np.isfinite(values).all():
        raise BadSound("holds samples that are not finite")
    greatest = float(np.abs(values).max())
    if greatest > _MAX_FLOAT:
        raise BadSound(f"holds samples up to {greatest:g}; floats run from -1 to 1: {_SAVE}")
    return values


def _exactly(stream: BinaryIO, num: int) -> bytes:
    data = stream.read(num)
    if len(data) < num:
        raise BadSound("cut short")
    return data


def _shown(name: bytes) -> str:
    return repr(name.decode("latin-1"))

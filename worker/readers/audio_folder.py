"""A zip or tar of class folders with WAV files in them: `cat/1.wav`; see worker.readers.base.class_folders.

Each becomes a log-mel spectrogram, an image of one channel that lies (mels, frames): all that reads images reads it.
"""

from collections import Counter
from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import Spectrum
from worker.readers.base.case import Case
from worker.readers.base.class_folders import FolderRows, Row, Sought, find_rows
from worker.readers.base.compression import DAMAGE
from worker.readers.base.content import Content
from worker.readers.base.files import BadFile, Files
from worker.readers.base.images import Pixels, check_volume
from worker.readers.base.kinds import Kind
from worker.readers.base.spectrum import LogMel, filters
from worker.readers.base.wav import header, samples

#: What the files of the format are, by content.
KIND: Kind = "wav"
_SOUGHT = Sought(KIND, "recording", "1.wav")
#: Where no length is asked for, so large a share of the recordings is kept whole.
_KEPT_WHOLE = 0.95
#: The same bound as `audio.seconds` has.
_MAX_S = 60


def read_sounds(content: Content, case: Case) -> "FolderSounds":
    """Raises: Rejected where there are no class folders, or one holds no recording, or their rates differ."""
    return FolderSounds(content.files, find_rows(content, case, _SOUGHT), case)


class FolderSounds(FolderRows):
    """Recordings of one rate and length, as spectrograms; see worker.readers.base.images.Images."""

    def __init__(self, files: Files, rows: Sequence[Row], case: Case) -> None:
        super().__init__(files, rows, case, case.limits.max_sound_bytes)
        rates, lengths = self._survey()
        rate = self._settle_rate(rates)
        self.spectrum = _settle(rate, lengths[self._readable], case)
        self.shape = (1, self.spectrum.mels, self.spectrum.frames)
        check_volume(len(rows), self.shape, case, "/audio/hop_ms", "Set a larger audio.hop_ms")
        self._log_mel = LogMel(self.spectrum)

    def _pixels(self, data: bytes) -> Pixels:
        return self._log_mel(samples(data, self.spectrum.samples, self._case.limits))[None]

    def _survey(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples a second, and samples, of each file (N,) that can be read."""
        found = np.zeros((2, len(self._entries)), np.int64)
        for row, entry in enumerate(self._entries):
            try:
                with self._files.open(entry) as stream:
                    wav = header(stream, entry.size, self._case.limits)
            except BadFile as error:
                self._bad(row, str(error))
            except DAMAGE as error:
                self._bad(row, f"damaged in the archive ({error})")
            else:
                found[:, row] = wav.rate, wav.num
        return found[0], found[1]

    def _settle_rate(self, rates: NDArray[np.int64]) -> int:
        """The one rate of the set; a few files of another one are bad rows."""
        counts = Counter(rates[self._readable].tolist())
        if not counts:
            self._case.judge_bad_rows(0)
        asked = self._case.spec.audio.sample_rate
        rate = asked or min(counts, key=lambda rate: (-counts[rate], rate))
        others = np.flatnonzero(self._readable & (rates != rate))
        if len(others) > self._case.spec.max_bad_share * len(rates):
            told = ", ".join(f"{num} of {rate} Hz" for rate, num in counts.most_common(5))
            raise Rejected.at(
                "/audio/sample_rate",
                f"{len(others)} recordings have another rate than {rate} Hz: there are {told}. Nothing is resampled "
                f"here, since how it is done matters to a teacher: bring all to one rate, e.g. by `sox in.wav -r "
                f"{rate} out.wav`, then upload them again.",
                code="sample_rate",
            )
        for row in others:
            self._bad(int(row), f"has {rates[row]} samples a second, the others {rate}")
        return rate


def _settle(rate: int, lengths: NDArray[np.int64], case: Case) -> Spectrum:
    """What the spec says, made whole by looking at the recordings. lengths (N,): samples of each."""
    asked = case.spec.audio
    window, hop = max(2, round(asked.window_ms * rate / 1000)), max(1, round(asked.hop_ms * rate / 1000))
    spectrum = Spectrum(
        sample_rate=rate,
        samples=_settle_length(rate, window, hop, lengths, case),
        window=window,
        hop=hop,
        fft=2 ** ceil(np.log2(window)),
        mels=asked.n_mels,
    )
    if empty := int((~filters(spectrum).any(axis=1)).sum()):
        raise Rejected.at(
            "/audio/n_mels",
            f"{empty} of {asked.n_mels} mel bands are so narrow at {rate} Hz that no frequency of a window of "
            f"{asked.window_ms:g} ms falls into them. Set fewer audio.n_mels, or a longer audio.window_ms.",
            code="features",
        )
    case.facts["spectrum"] = spectrum.model_dump()
    case.passed(
        "features",
        f"{spectrum.mels} log-mel bands by {spectrum.frames} frames of {window} samples every {hop}, at {rate} Hz.",
    )
    return spectrum


def _settle_length(rate: int, window: int, hop: int, lengths: NDArray[np.int64], case: Case) -> int:
    """Samples that each recording is cut or filled up to."""
    asked = case.spec.audio.seconds
    most = window + (case.limits.max_side - 1) * hop
    if asked is not None:
        length = round(asked * rate)
        if not window <= length <= most:
            raise Rejected.at(
                "/audio/seconds",
                f"{asked:g} s are {length} samples at {rate} Hz, which is {'less' if length < window else 'more'} than "
                f"one window of {window} or {case.limits.max_side} frames, {hop} samples apart, hold: say "
                f"{window / rate:.3g} to {most / rate:.5g} s, or other audio.window_ms and audio.hop_ms.",
                code="sound_length",
            )
    else:
        by_length = np.sort(lengths)
        length = min(max(int(by_length[ceil(_KEPT_WHOLE * len(by_length)) - 1]), window), most, _MAX_S * rate)
    num_cut, num_filled = int((lengths > length).sum()), int((lengths < length).sum())
    told = f"Recordings are stored with {length} samples ({length / rate:.3g} s)"
    if not num_cut + num_filled:
        case.passed("sound_length", f"{told}, as long as all of them are.")
    else:
        case.warned(
            "sound_length",
            f"{told}: of {len(lengths)}, of {lengths.min() / rate:.3g} to {lengths.max() / rate:.3g} s, {num_cut} lose "
            f"their end and {num_filled} are filled up with silence. Set audio.seconds to choose.",
        )
    return length

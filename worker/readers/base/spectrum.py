"""Samples to a log-mel spectrogram of bytes. docs/data.md has the same in a few lines, for whoever has to repeat it.

A frame's power spectrum is scaled so that all bins together make the mean square of the windowed samples: 0 dB is what
a square wave of full scale has, a sine of full scale has -3 dB. The least that is told apart is -102 dB, under the
noise of 16-bit samples (2^-30 / 12, -101 dB), and a byte is a step of 0.4 dB.
Sources: mel = 2595 log10(1 + f / 700) and triangles that overlap by half, Young et al., The HTK Book (3.4), section
5.4; frames of 25 ms every 10 ms, the same; the Hann window in its periodic form and the scale of a power spectrum,
Harris 1978, "On the use of windows for harmonic analysis with the discrete Fourier transform".
"""

import numpy as np
from numpy.typing import NDArray

from models.canonical import Spectrum

#: A recording of a minute at the highest rate is transformed in parts.
_BLOCK_VALUES = 2**20


class LogMel:
    """The features of recordings of one rate and length."""

    def __init__(self, spectrum: Spectrum) -> None:
        self._spectrum = spectrum
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spectrum.window) / spectrum.window)
        self._filters = filters(spectrum)

    def __call__(self, samples: NDArray[np.float64]) -> NDArray[np.uint8]:
        """(n,) in -1 to 1 to (mels, frames): cut, or filled up with silence, to the length."""
        spec = self._spectrum
        samples = samples[: spec.samples]
        samples = np.concatenate([samples, np.zeros(spec.samples - len(samples))])
        frames = np.lib.stride_tricks.sliding_window_view(samples, spec.window)[:: spec.hop]
        out = np.empty((spec.mels, len(frames)), np.uint8)
        step = max(1, _BLOCK_VALUES // spec.fft)
        for first in range(0, len(frames), step):
            out[:, first : first + step] = self._bytes(frames[first : first + step])
        return out

    def _bytes(self, frames: NDArray[np.float64]) -> NDArray[np.uint8]:
        """(n, window) to (mels, n)."""
        spec = self._spectrum
        power = 2 * np.abs(np.fft.rfft(frames * self._window, spec.fft)) ** 2 / (spec.fft * (self._window**2).sum())
        decibels = 10 * np.log10(np.maximum(self._filters @ power.T, 1e-30))
        out: NDArray[np.uint8] = np.rint((decibels.clip(spec.low, 0.0) - spec.low) / spec.step).astype(np.uint8)
        return out


def filters(spectrum: Spectrum) -> NDArray[np.float64]:
    """(mels, bins): triangles of height 1 between 0 and half the rate, their corners evenly spaced on the mel scale."""
    top = 2595 * np.log10(1 + spectrum.sample_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, spectrum.mels + 2) / 2595) - 1)
    bins = np.arange(spectrum.fft // 2 + 1) * spectrum.sample_rate / spectrum.fft
    left, peak, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return np.maximum(0.0, np.minimum((bins - left) / (peak - left), (right - bins) / (right - peak)))

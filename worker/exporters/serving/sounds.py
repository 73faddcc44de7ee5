"""Part of student.py for sounds. The exporter joins its text with the others'."""

import argparse
import wave
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.exporters.serving.figures import CLASSES, IN_SHAPE, MEAN, SPECTRUM, STD
from worker.exporters.serving.loading import describe, load


def preprocess(spectra: Tensor) -> Tensor:
    """uint8 spectrograms (N, 1, mels, frames) or one (1, mels, frames), as `read` gives them, to what the net takes."""
    spectra = spectra.unsqueeze(0) if spectra.dim() == 3 else spectra
    if tuple(spectra.shape[1:]) != tuple(IN_SHAPE):
        raise ValueError(f"spectrograms of {list(IN_SHAPE)} are needed, these are {list(spectra.shape[1:])}")
    mean, std = (torch.tensor(figures, device=spectra.device).reshape(1, -1, 1, 1) for figures in (MEAN, STD))
    return (spectra.to(torch.float32) / 255 - mean) / std


@torch.no_grad()
def predict(net: nn.Module, spectra: Tensor) -> Tensor:
    """Probabilities (N, classes) for uint8 spectrograms (N, 1, mels, frames) or one (1, mels, frames)."""
    logits: Tensor = net(preprocess(spectra))
    return logits.softmax(1)


def read(path: str | Path) -> Tensor:
    """The spectrogram of a WAV file of 8, 16, 24 or 32 bits, PCM. For other files give samples to `spectrogram`."""
    with wave.open(str(path), "rb") as file:
        if file.getframerate() != SPECTRUM["sample_rate"]:
            raise ValueError(f"{SPECTRUM['sample_rate']} Hz are needed, {path} has {file.getframerate()}")
        channels, width = file.getnchannels(), file.getsampwidth()
        raw = torch.frombuffer(bytearray(file.readframes(SPECTRUM["samples"])), dtype=torch.uint8)
    return spectrogram(_numbers(raw, width).reshape(-1, channels).mean(1))


def spectrogram(samples: Tensor) -> Tensor:
    """What training saw of samples (n,) in -1 to 1: log-mel as uint8 (1, mels, frames)."""
    num, window, size, low = (SPECTRUM[name] for name in ("samples", "window", "fft", "low"))
    samples = samples.to(torch.float64)[:num]
    hann = torch.hann_window(window, dtype=torch.float64)
    frames = F.pad(samples, (0, num - len(samples))).unfold(0, window, SPECTRUM["hop"]) * hann
    power = 2 * torch.fft.rfft(frames, size).abs() ** 2 / (size * (hann**2).sum())
    decibels = 10 * torch.log10((_filters() @ power.T).clamp_min(1e-30))
    steps: Tensor = (decibels.clamp(low, 0) - low) / SPECTRUM["step"]
    return steps.round().to(torch.uint8).unsqueeze(0)


def _filters() -> Tensor:
    """(mels, bins): triangles of height 1, their corners evenly spaced on the mel scale."""
    rate, size = SPECTRUM["sample_rate"], SPECTRUM["fft"]
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700, dtype=torch.float64)).item()
    mels = torch.linspace(0, top, SPECTRUM["mels"] + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
    left, peak, right = (corners[at : at + SPECTRUM["mels"], None] for at in range(3))
    return torch.minimum((bins - left) / (peak - left), (right - bins) / (right - peak)).clamp_min(0)


def _numbers(raw: Tensor, width: int) -> Tensor:
    """Bytes of samples to -1 to 1: of one byte they are unsigned, else signed and little-endian."""
    if width == 1:
        return (raw.double() - 128) / 128
    places = torch.arange(width) * 8
    values = (raw.reshape(-1, width).long() << places).sum(1)
    values = values - (values >> (8 * width - 1) << (8 * width))
    return values.double() / float(2 ** (8 * width - 1))


def main() -> None:
    """Describe the student, or say what it hears in recordings."""
    parser = argparse.ArgumentParser(description=describe.__doc__)
    parser.add_argument("weights", nargs="?", default="student.pth")
    parser.add_argument("recordings", nargs="*", help="WAV files to classify")
    given = parser.parse_args()
    net = load(given.weights)
    print(describe(net))
    for path in given.recordings:
        probabilities = predict(net, read(path))[0]
        best = probabilities.topk(min(5, len(probabilities)))
        ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        print(f"{path}: " + ", ".join(f"{CLASSES[at]} {share:.1%}" for share, at in ranked))


if __name__ == "__main__":
    main()

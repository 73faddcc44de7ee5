"""Part of student.py for images. The exporter joins its text with the others'."""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.exporters.serving.figures import CLASSES, IN_SHAPE, MEAN, STD
from worker.exporters.serving.loading import describe, load


def preprocess(pixels: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) or one (C, H, W), resized where they need it, to what the network takes."""
    pixels = pixels.unsqueeze(0) if pixels.dim() == 3 else pixels
    channels, height, width = IN_SHAPE
    if pixels.shape[1] != channels:
        raise ValueError(f"images of {channels} channels are needed, these have {pixels.shape[1]}")
    x = pixels.to(torch.float32)
    if tuple(x.shape[2:]) != (height, width):
        x = F.interpolate(x, (height, width), mode="bilinear", antialias=True).round()
    mean, std = (torch.tensor(figures, device=x.device).reshape(1, -1, 1, 1) for figures in (MEAN, STD))
    return (x / 255 - mean) / std


@torch.no_grad()
def predict(net: nn.Module, pixels: Tensor) -> Tensor:
    """Probabilities (N, classes) for uint8 images (N, C, H, W) or one (C, H, W)."""
    logits: Tensor = net(preprocess(pixels))
    return logits.softmax(1)


def read(path: str | Path) -> Tensor:
    """An image file as uint8 (C, H, W) of the network's size. Needs Pillow."""
    from PIL import Image

    channels, height, width = IN_SHAPE
    with Image.open(path) as image:
        plain = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    flat = torch.frombuffer(bytearray(plain.tobytes()), dtype=torch.uint8)
    return flat.reshape(height, width, channels).permute(2, 0, 1)


def main() -> None:
    """Describe the student, or say what it sees in images."""
    parser = argparse.ArgumentParser(description=describe.__doc__)
    parser.add_argument("weights", nargs="?", default="student.pth")
    parser.add_argument("images", nargs="*", help="files to classify; reading them needs Pillow")
    given = parser.parse_args()
    net = load(given.weights)
    print(describe(net))
    for path in given.images:
        probabilities = predict(net, read(path))[0]
        best = probabilities.topk(min(5, len(probabilities)))
        ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        print(f"{path}: " + ", ".join(f"{CLASSES[at]} {share:.1%}" for share, at in ranked))


if __name__ == "__main__":
    main()

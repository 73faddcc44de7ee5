"""Part of student.py: the network with its weights. The exporter joins its text with the others'."""

from pathlib import Path

import torch
from torch import nn

from worker.exporters.serving.figures import ARCHITECTURE, CONFIG, IN_SHAPE, NUM_OUTPUTS, build


def load(path: str | Path = "student.pth", device: str = "cpu") -> nn.Module:
    """The student with its weights, in evaluation mode."""
    net = build(IN_SHAPE, NUM_OUTPUTS, **CONFIG)
    net.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    return net.to(device).eval()


def describe(net: nn.Module) -> str:
    """What the student is, in a line."""
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return f"{ARCHITECTURE}: {parameters:,} parameters, input {list(IN_SHAPE)}, {NUM_OUTPUTS} outputs"

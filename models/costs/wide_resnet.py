"""Of worker/students/wide_resnet.py."""

from models.spec.students import WideResNet
from models.walk import Walk


def walk(at: Walk, student: WideResNet, num_outputs: int) -> None:
    """Through the stem and three groups."""
    at.conv(16, 3)
    for group in range(3):
        for block in range((student.depth - 4) // 6):
            _block(at, 16 * 2**group * student.width, 2 if group and not block else 1)
    at.norm().mean().linear(num_outputs)


def _block(at: Walk, out: int, stride: int) -> None:
    at.norm()
    if at.shape[0] != out:
        at.beside().conv(out, 1, stride)
    at.conv(out, 3, stride).norm().conv(out, 3)

"""Of worker/students/resnet.py."""

from models.spec.students import ResNet
from models.walk import Walk


def walk(at: Walk, student: ResNet, num_outputs: int) -> None:
    """Through the stem and three stages."""
    stem = student.stem or (16 if student.width == 1 else 32)
    if student.shortcut == "A" and stem > 16 * student.width:
        raise ValueError("shortcut A cannot drop channels")
    at.conv(stem, 3).norm()
    for stage in range(3):
        for block in range((student.depth - 2) // 6):
            _block(at, 16 * 2**stage * student.width, 2 if stage and not block else 1, student.shortcut)
    at.mean().linear(num_outputs)


def _block(at: Walk, out: int, stride: int, shortcut: str) -> None:
    if (stride != 1 or at.shape[0] != out) and shortcut == "B":
        at.beside().conv(out, 1, stride).norm()
    at.conv(out, 3, stride).norm().conv(out, 3).norm()

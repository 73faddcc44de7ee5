"""Of worker/students/vgg.py."""

from models.spec.students import VGG
from models.walk import Walk

_CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)


def walk(at: Walk, student: VGG, num_outputs: int) -> None:
    """Through the five blocks; the last pooling is left out for small images."""
    pools = 4 if min(at.shape[1:]) >= 64 else 3
    for block, (number, width) in enumerate(zip(_CONVOLUTIONS[student.depth], _WIDTHS, strict=True)):
        for _ in range(number):
            at.conv(width, 3, bias=True).norm()
        if block < pools:
            at.pool(2)
    at.mean().linear(num_outputs)

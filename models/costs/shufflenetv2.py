"""Of worker/students/shufflenetv2.py."""

from models.spec.students import ShuffleNetV2
from models.walk import Walk

_WIDTHS = {
    "0.5": (48, 96, 192, 1024),
    "1.0": (116, 232, 464, 1024),
    "1.5": (176, 352, 704, 1024),
    "2.0": (244, 488, 976, 2048),
}
#: Units of each stage that keep the resolution; one that halves it comes before them.
_UNITS = (3, 7, 3)


def walk(at: Walk, student: ShuffleNetV2, num_outputs: int) -> None:
    """Through the 1x1 stem, three stages and the wide last convolution."""
    *widths, last = _WIDTHS[student.size]
    at.conv(24, 1).norm()
    for width, units in zip(widths, _UNITS, strict=True):
        _down(at, width)
        for _ in range(units):
            _keep(at, width)
    at.conv(last, 1).norm()
    at.mean().linear(num_outputs)


def _down(at: Walk, width: int) -> None:
    """Both branches work on all channels."""
    inputs, half = at.shape[0], width // 2
    at.beside().conv(inputs, 3, 2, groups=inputs).norm().conv(half, 1).norm()
    at.conv(half, 1).norm().conv(half, 3, 2, groups=half).norm().conv(half, 1).norm()
    at.shape = (width, *at.shape[1:])


def _keep(at: Walk, width: int) -> None:
    """One half of the channels is worked on, the other passes."""
    half = width // 2
    at.shape = (half, *at.shape[1:])
    at.conv(half, 1).norm().conv(half, 3, groups=half).norm().conv(half, 1).norm()
    at.shape = (width, *at.shape[1:])

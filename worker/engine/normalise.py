"""From a raw batch to what a network takes: the student's way and the teacher's.

The student sees each channel less the training split's mean, over its deviation; the report and the manifest say the
figures, since whoever uses the student has to do the same. The teacher sees what its owner declared.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from models.canonical import DatasetMeta, ResolvedInput, TeacherMeta

View = Callable[[Tensor], Tensor]


def as_it_is(raw_ND: Tensor) -> Tensor:
    """A table's features, which intake has standardised already, or a text's token ids."""
    return raw_ND


class Standardise:
    """uint8 images (N, C, H, W) to float32 (p * scale + shift), channel by channel; memory stays channels-last."""

    def __init__(self, scale_C: Tensor, shift_C: Tensor, size: tuple[int, int]) -> None:
        # One figure for each pixel and not for each channel: an inner loop of three numbers is slow.
        self._scale, self._shift = (
            x.reshape(1, -1, 1, 1).expand(1, -1, *size).contiguous(memory_format=torch.channels_last)
            for x in (scale_C, shift_C)
        )

    def __call__(self, raw_NCHW: Tensor) -> Tensor:
        """The images as numbers, of the same shape."""
        return torch.addcmul(self._shift, raw_NCHW.to(torch.float32), self._scale)


def student_view(meta: DatasetMeta, device: torch.device) -> View:
    """What the student sees of images: (p / 255 - mean) / std."""
    C, H, W = meta.input_shape
    mean, std = (torch.tensor(x, dtype=torch.float32, device=device) for x in student_figures(meta))
    assert len(mean) == len(std) == C, "a canonical image set has one mean and one deviation for each channel"
    return Standardise(1 / (255 * std), -mean / std, (H, W))


def student_figures(meta: DatasetMeta) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, in 0..1. A channel that never changes is not scaled."""
    return list(meta.mean), [s if s > 0 else 1.0 for s in meta.std]


class TeacherView:
    """What the teacher sees of images: resized, in its range, normalised and laid out as it was declared."""

    def __init__(self, teacher: TeacherMeta, data: DatasetMeta, device: torch.device) -> None:
        want = teacher.input
        self._resize = want.size is not None and want.size != data.input_shape[1:]
        self._nhwc = want.layout == "NHWC" and teacher.graph_input is not None
        self._flat = len(teacher.input_shape) == 1
        _, *self._size = teacher_shape(teacher, data)
        low, high = want.range
        mean, std = (torch.tensor(x, device=device) for x in _figures(want, data))
        # ((p / 255) * (high - low) + low - mean) / std
        height, width = self._size
        self._standardise = Standardise((high - low) / 255 / std, (low - mean) / std, (height, width))

    def __call__(self, raw_NCHW: Tensor) -> Tensor:
        """What the teacher takes, float32."""
        x = raw_NCHW
        if self._resize:
            # With antialiasing, as image libraries resize; enlarging is plain bilinear either way.
            x = F.interpolate(x.to(torch.float32), self._size, mode="bilinear", antialias=True)
        x = self._standardise(x)
        x = x.permute(0, 2, 3, 1).contiguous() if self._nhwc else x
        return x.flatten(1) if self._flat else x


def teacher_shape(teacher: TeacherMeta, data: DatasetMeta) -> tuple[int, ...]:
    """What the teacher is given of this data, channels first: (C, H, W), (D,), or (V, L) of a text."""
    if len(data.input_shape) != 3:
        return data.input_shape
    return (data.input_shape[0], *(teacher.input.size or data.input_shape[1:]))


def _figures(want: ResolvedInput, data: DatasetMeta) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, in the units of the range."""
    low, high = want.range
    mean01, std01 = student_figures(data)
    mean = want.mean or [m * (high - low) + low for m in mean01]
    std = want.std or [s * (high - low) for s in std01]
    return _for_channels(mean, len(mean01)), _for_channels(std, len(std01))


def _for_channels(values: list[float], channels: int) -> list[float]:
    return values * channels if len(values) == 1 else values

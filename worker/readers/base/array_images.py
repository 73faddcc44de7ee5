"""Images that come as arrays, from npz and IDX files alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base import splits
from worker.readers.base.arrays import ArrayFile
from worker.readers.base.case import Case
from worker.readers.base.images import (
    Mask,
    Pixels,
    Scale,
    check_volume,
    resized,
    scale_for,
    settle_size,
    with_channels,
)
from worker.readers.base.labels import Labels

#: Channel counts that an image can have: grey, RGB and, where they come last, RGB with alpha.
_FIRST, _LAST = (1, 3), (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Part:
    """The images of one split, or of all: (N, H, W), (N, H, W, C) or (N, C, H, W)."""

    array: ArrayFile
    split: int


class ArrayImages:
    """See worker.readers.base.images.Images."""

    def __init__(self, parts: Sequence[Part], labels: Labels, case: Case) -> None:
        self._parts, self._case, self.labels = parts, case, labels
        self.split = np.concatenate([splits.constant(part.split, len(part.array)) for part in parts])
        self._layout = _layout(parts)
        channels, height, width = _dims(parts[0].array.shape, self._layout)
        sides = np.full(1, height, np.int64), np.full(1, width, np.int64)
        self.shape = (_settle_channels(channels, case), *settle_size(*sides, case))
        check_volume(len(self.split), self.shape, case)
        self._usable, self._scale = _scan(parts, case)
        case.facts["scaling"] = self._scale.why
        note = case.warned if parts[0].array.dtype == np.uint8 and self._scale.factor != 1.0 else case.passed
        note("scaling", f"{self._scale.why[0].upper()}{self._scale.why[1:]}, stored as bytes 0 to 255.")

    def row_name(self, row: int) -> str:
        """The array's name and the place in it."""
        for part in self._parts:
            if row < len(part.array):
                return f"{part.array.name}[{row}]"
            row -= len(part.array)
        raise IndexError(row)

    def blocks(self, wanted: Mask) -> Iterator[tuple[NDArray[np.int64], Pixels]]:
        """See worker.readers.base.images.Images.blocks."""
        for row in np.flatnonzero(wanted & ~self._usable):
            self._case.bad_rows.add(self.row_name(int(row)), "holds NaN or infinite values")
        wanted = wanted & self._usable
        offset = 0
        for part in self._parts:
            for first, values in part.array.blocks(self._case.limits.block_bytes):
                chosen = wanted[offset + first : offset + first + len(values)]
                if chosen.any():
                    yield np.flatnonzero(chosen) + offset + first, self._pixels(values[chosen])
            offset += len(part.array)

    def _pixels(self, values: NDArray[np.generic]) -> Pixels:
        pixels = _channels_first(self._scale.apply(values), self._layout)
        if pixels.shape[1] == 4:
            pixels = pixels[:, :3]
        channels, height, width = self.shape
        return resized(with_channels(pixels, channels), height, width)


def _layout(parts: Sequence[Part]) -> str:
    """`NHW`, `NHWC` or `NCHW`, told by which dimension could be the channels."""
    first = parts[0].array
    for part in parts[1:]:
        if part.array.shape[1:] != first.shape[1:]:
            raise Rejected(
                f"{part.array.name} has images of {part.array.shape[1:]} and {first.name} of {first.shape[1:]}; all "
                "splits must have one shape.",
                code="shapes",
            )
    if len(first.shape) == 3:
        return "NHW"
    if len(first.shape) == 4:
        _, a, b, c = first.shape
        if c in _LAST and (a not in _FIRST or b != c):
            return "NHWC"
        if a in _FIRST:
            return "NCHW"
    raise Rejected.at(
        "/task",
        f"{first.name} has shape {first.shape}; images are (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 "
        "channels. Reshape it; rows of plain features (N, D) belong to a tabular task.",
        code="shapes",
    )


def _dims(shape: tuple[int, ...], layout: str) -> tuple[int, int, int]:
    if layout == "NHW":
        return 1, shape[1], shape[2]
    return (shape[3], shape[1], shape[2]) if layout == "NHWC" else (shape[1], shape[2], shape[3])


def _channels_first(pixels: Pixels, layout: str) -> Pixels:
    if layout == "NHW":
        return pixels[:, None]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if layout == "NHWC" else pixels


def _settle_channels(found: int, case: Case) -> int:
    if found == 4:
        case.warned("alpha", "The images have a fourth channel; it is taken for alpha and left out.")
    return case.spec.image.channels or (1 if found == 1 else 3)


def _scan(parts: Sequence[Part], case: Case) -> tuple[Mask, Scale]:
    """Which rows are finite, and the scale that the smallest and the largest value of those tell."""
    low, high, usable = np.inf, -np.inf, []
    for part in parts:
        if part.array.dtype.kind not in "biuf":
            raise Rejected(f"{part.array.name} has dtype {part.array.dtype}; pixels are numbers.", code="array")
        for _, values in part.array.blocks(case.limits.block_bytes):
            flat = values.reshape(len(values), -1)
            finite = np.isfinite(flat).all(axis=1) if values.dtype.kind == "f" else np.ones(len(flat), np.bool_)
            usable.append(finite)
            if finite.any():
                good = flat if finite.all() else flat[finite]
                low, high = min(low, float(good.min())), max(high, float(good.max()))
    mask = np.concatenate(usable) if usable else np.zeros(0, np.bool_)
    return mask, scale_for(low, high) if mask.any() else Scale(0.0, 1.0, "no row is finite")

"""What a reader of images hands over, and how images of any make become (C, H, W) of bytes.

Sources: luma of ITU-R BT.601-7 section 2.5.1, in the fixed-point form that Pillow's convert("L") has; bilinear with
support scaled to the reduction (antialiased) is Pillow's resize.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import Rejected
from worker.readers.base.case import Case
from worker.readers.base.labels import Labels
from worker.readers.base.limits import Limits

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Images(Protocol):
    """Images of one shape, row by row in the order that they will have in the canonical file."""

    #: (N,) with official splits, splits.UNKNOWN where the upload says nothing.
    split: NDArray[np.uint8]
    labels: Labels
    #: (C, H, W)
    shape: tuple[int, int, int]

    def row_name(self, row: int) -> str:
        """What the user knows a row by."""
        ...

    def blocks(self, wanted: Mask) -> Iterator[tuple[NDArray[np.int64], Pixels]]:
        """(row numbers, pixels (n, C, H, W)) over the wanted rows, in order; rows that cannot be read go to the case's
        bad rows.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become bytes: round((value - low) * factor)."""

    low: float
    factor: float
    why: str

    def apply(self, values: NDArray[np.generic]) -> Pixels:
        """The bytes; input of any numeric type and shape, finite."""
        if values.dtype == np.uint8 and self.factor == 1.0:
            return values.view(np.uint8)
        return np.rint((values.astype(np.float64) - self.low) * self.factor).astype(np.uint8)


#: The value that white has, and what such data are. The smallest that no value exceeds is taken.
_WHITES = (
    (1.0, "0 to 1"),
    (16.0, "0 to 16, as the digits of scikit-learn have"),
    (255.0, "0 to 255"),
    (1023.0, "10-bit, 0 to 1023"),
    (4095.0, "12-bit, 0 to 4095"),
    (16383.0, "14-bit, 0 to 16383"),
    (65535.0, "16-bit, 0 to 65535"),
)


def scale_for(low: float, high: float) -> Scale:
    """The rule of the maximum: the largest value tells which range the pixels are in.

    Raises: Rejected for values that no such range holds.
    """
    found = f"the values run from {low:g} to {high:g}"
    if -1.0 <= low < 0.0 and high <= 1.0:
        return Scale(-1.0, 127.5, f"{found}: taken as -1 to 1")
    if low < 0.0 or high > _WHITES[-1][0]:
        raise Rejected(
            f"In the images {found}; pixels are 0 to 1, -1 to 1, 0 to 16, 0 to 255 or 10 to 16 bits deep. Standardised "
            "values cannot be turned back: give the images before their mean was taken off.",
            code="scaling",
        )
    white, name = next((white, name) for white, name in _WHITES if high <= white)
    return Scale(0.0, 255.0 / white, f"{found}: taken as {name}")


def to_grey(rgb: Pixels) -> Pixels:
    """(n, 3, H, W) to (n, 1, H, W)."""
    red, green, blue = (rgb[:, channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)[:, None]


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """(n, 1 or 3, H, W) with the channels asked for."""
    if pixels.shape[1] == channels:
        return pixels
    return to_grey(pixels) if channels == 1 else np.repeat(pixels, 3, axis=1)


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """(n, C, H, W) at another height and width."""
    if pixels.shape[2:] == (height, width):
        return pixels
    planes = pixels.reshape(-1, *pixels.shape[2:])
    out = [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(out).reshape(*pixels.shape[:2], height, width)


def within_side(height: int, width: int, limits: Limits) -> tuple[int, int]:
    """The size, reduced where a side is above the limit, its ratio kept."""
    shrink = max(height, width) / limits.max_side
    if shrink <= 1:
        return height, width
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def settle_size(heights: NDArray[np.int64], widths: NDArray[np.int64], case: Case) -> tuple[int, int]:
    """The one (height, width) that all images get: the user's, the images' own, or the median (the lower one of two).

    heights, widths (N,): those of each image.
    """
    if case.spec.image.size:
        height, width = case.spec.image.size
        case.passed("image_size", f"Images are stored at {height} x {width} (height x width), as image.size says.")
        return height, width
    height, width = (int(np.sort(sides)[(len(sides) - 1) // 2]) for sides in (heights, widths))
    agree = bool(np.all(heights == height) and np.all(widths == width))
    small = within_side(height, width, case.limits)
    if small != (height, width):
        case.warned(
            "image_size",
            f"Images of {height} x {width} are stored at {small[0]} x {small[1]}: no side is kept above "
            f"{case.limits.max_side}. Set image.size to choose.",
        )
    elif agree:
        case.passed("image_size", f"All images are {height} x {width} (height x width).")
    else:
        case.warned(
            "image_size",
            f"Images differ in size (heights {heights.min()} to {heights.max()}, widths {widths.min()} to "
            f"{widths.max()}); all are stretched to the median, {height} x {width}. Set image.size to choose.",
        )
    return small


def check_volume(
    num_rows: int,
    shape: tuple[int, ...],
    case: Case,
    pointer: str = "/image/size",
    remedy: str = "Set a smaller image.size",
) -> None:
    """Raises: Rejected where rows of this shape, a byte a value, make more than a data set may have."""
    size = num_rows
    for length in shape:
        size *= length
    if num_rows > case.limits.max_rows or size > case.limits.max_canonical_bytes:
        raise Rejected.at(
            pointer,
            f"{num_rows} images of {shape} make {size / 2**30:.1f} GiB; the limits are {case.limits.max_rows} rows and "
            f"{case.limits.max_canonical_bytes / 2**30:.3g} GiB. {remedy}.",
            code="too_large",
        )

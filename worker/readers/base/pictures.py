"""Decodes one picture file with Pillow: the first frame, upright, as bytes of grey or RGB.

Source of the orientation: tag 0x0112 of Exif 2.32, section 4.6.4.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from worker.readers.base.files import BadFile
from worker.readers.base.images import Pixels
from worker.readers.base.limits import Limits

#: Formats that Pillow reads by itself; not those for which it starts other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
Image.init()  # else only the five commonest are known
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_ORIENTATION = 0x0112


class BadPicture(BadFile):
    """Why a file gives no pixels, in words for the report."""


def looks(stream: BinaryIO, limits: Limits) -> tuple[int, int, bool]:
    """(height, width, whether it is stored in colour) by the file's header. Raises: BadPicture."""
    with _opened(stream, limits) as image:
        width, height = image.size
        if _lies_on_its_side(image):
            width, height = height, width
        return height, width, _has_colour(image)


def pixels(data: bytes, shape: tuple[int, int, int], limits: Limits) -> Pixels:
    """The picture as (C, H, W). Raises: BadPicture."""
    channels, height, width = shape
    with _opened(io.BytesIO(data), limits) as image:
        ImageOps.exif_transpose(image, in_place=True)
        plain = _eight_bit(image).convert("L" if channels == 1 else "RGB")
        if plain.size != (width, height):
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(plain).reshape(height, width, channels).transpose(2, 0, 1)


@contextmanager
def _opened(stream: BinaryIO, limits: Limits) -> Iterator[Image.Image]:
    """The picture, not yet decoded; whatever goes wrong until it is done with becomes a BadPicture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; pixels are what counts
            with Image.open(stream, formats=_FORMATS) as image:
                _check_pixels(image, limits)
                yield image
    except BadPicture:
        raise
    except Image.DecompressionBombError as error:
        raise BadPicture(f"has more than {limits.max_pixels} pixels, the limit") from error
    except UnidentifiedImageError as error:
        raise BadPicture("not an image that can be read (PNG, JPEG, GIF, BMP, TIFF, WebP, PPM)") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them trip over
        raise BadPicture(f"a damaged image ({type(error).__name__})") from error


def _check_pixels(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise BadPicture(f"has {width} x {height} pixels; the limit is {limits.max_pixels}")


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether Exif says to turn it by a quarter. A PNG is asked only if that stands before its pixels: Pillow would
    decode the whole file to look behind them.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)


def _has_colour(image: Image.Image) -> bool:
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool(np.any(palette != palette[:, :1]))
    return image.mode not in _GREY_MODES | _DEEP_MODES


def _eight_bit(image: Image.Image) -> Image.Image:
    """A mode that Pillow converts to grey or RGB without loss of sense: it would cut 16-bit values off at 255."""
    if image.mode in _DEEP_MODES:
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.rint(deep.clip(0, 65535) / 257).astype(np.uint8))
    if image.mode == "F":
        raise BadPicture("pixels are fractions, whose range nothing tells; save 8 or 16 bits, or an npz")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image

"""Shapes of what goes into networks and of what layers give, for one sample. Known without any network.

What goes in: (C, H, W) an image, (D,) a row of a table, (V, L) a text of L tokens, each one of V. What layers give:
(C, H, W) a map, (D,) a vector, (L, D) a sequence.
"""

from typing import Literal

Shape = tuple[int, ...]
Kind = Literal["image", "table", "text"]


def kind_of(in_shape: Shape) -> Kind:
    """What goes in where inputs have this shape."""
    kinds: dict[int, Kind] = {1: "table", 2: "text", 3: "image"}
    return kinds[len(in_shape)]


def stored(in_shape: Shape) -> Shape:
    """The shape of one row as it is stored and as the network takes it: a text is (L,), the ids of its tokens."""
    return in_shape[1:] if kind_of(in_shape) == "text" else in_shape


def slid(shape: Shape, kernel: int, stride: int, padding: int = 0, channels: int | None = None) -> Shape:
    """What a window that slides over a map leaves of it. Raises ValueError where it does not fit."""
    if len(shape) != 3:
        raise ValueError("a window slides over a map (channels, height, width)")
    sizes = [(length + 2 * padding - kernel) // stride + 1 for length in shape[1:]]
    if min(sizes) < 1:
        raise ValueError(f"a kernel of {kernel} is larger than the map")
    return (channels or shape[0], *sizes)


def halved(shape: Shape, channels: int, times: int = 1) -> Shape:
    """A map after a 3x3 convolution with stride 2, padded by 1, so many times: sides are halved and rounded up."""
    for _ in range(times):
        shape = slid(shape, 3, 2, 1)
    return (channels, *shape[1:])

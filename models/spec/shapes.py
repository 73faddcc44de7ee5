"""Shapes of what layers give, for one sample: (C, H, W) of a map, (D,) of a vector. Known without any network."""

Shape = tuple[int, ...]


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

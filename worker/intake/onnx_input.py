"""What goes into a graph: the shape that it wants, the layout, and shapes to try where it leaves them open."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import onnx

from core.errors import Problem, Rejected
from models.spec.teachers import TeacherInput
from worker.intake.onnx_graph import FLOATS

Layout = Literal["NCHW", "NHWC"]

#: Channels that an image may have.
_CHANNELS = (1, 2, 3, 4)
#: Heights and widths to try, where the graph takes several and the user named none.
_SIZES = (32, 224, 28, 64, 96, 128, 299, 8)
_MAX_RANK = 5
_MAX_ELEMENTS = 2**26


@dataclass(frozen=True)
class GraphInput:
    """The one input: dimensions without the batch (None: open), the batch size (None: open), the layout of images."""

    name: str
    dims: tuple[int | None, ...]
    batch: int | None
    layout: Layout

    @property
    def channel_axis(self) -> int | None:
        """Where the channels are among `dims`; None where it takes no images."""
        if len(self.dims) != 3:
            return None
        return 0 if self.layout == "NCHW" else 2

    @property
    def size_axes(self) -> tuple[int, int] | None:
        """Where height and width are among `dims`."""
        if len(self.dims) != 3:
            return None
        return (1, 2) if self.layout == "NCHW" else (0, 1)

    def candidates(self, size: tuple[int, int] | None) -> Iterator[tuple[int, ...]]:
        """Shapes without the batch that the graph may take, likeliest first."""
        sizes = [size] if size else [(side, side) for side in _SIZES]
        channels = (3, 1) if self.channel_axis is not None else (1,)
        seen = set[tuple[int, ...]]()
        for (height, width), depth in product(sizes, channels):
            guess = self._filled(height, width, depth)
            if None not in guess and guess not in seen:
                seen.add(guess)
                yield guess

    def _filled(self, height: int, width: int, depth: int) -> tuple[int, ...]:
        guess = list(self.dims)
        if self.size_axes is not None and self.channel_axis is not None:
            for axis, value in zip((*self.size_axes, self.channel_axis), (height, width, depth), strict=True):
                guess[axis] = guess[axis] or value
        return tuple(guess)  # type: ignore[arg-type]  # None is looked for by the caller


def read_input(model: onnx.ModelProto, name: str, wish: TeacherInput) -> GraphInput:
    """The input's shape, its layout decided. Raises Rejected where no float images or rows can go in."""
    value = next(value for value in model.graph.input if value.name == name)
    tensor = value.type.tensor_type
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    shown = [dim if dim is not None else "?" for dim in dims]
    if tensor.elem_type not in FLOATS:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise Rejected(
            f"The input {name!r} is of type {kind}; a teacher takes normalised float32. Move the conversion out of "
            "the graph and export it again.",
            code="inputs",
        )
    if not 2 <= len(dims) <= _MAX_RANK or any(dim and dim > _MAX_ELEMENTS for dim in dims):
        raise Rejected(
            f"The input {name!r} has the shape {shown}; a teacher takes rows (N, D) or images (N, C, H, W) or "
            "(N, H, W, C).",
            code="inputs",
        )
    rest = tuple(dims[1:])
    found = GraphInput(name, rest, dims[0], _layout(rest, wish.layout))
    if next(found.candidates(wish.size), None) is None:
        raise Rejected(
            f"The input {name!r} has the shape {shown}: only the batch, and an image's size, may be left open. Export "
            "it with the other dimensions fixed.",
            code="inputs",
        )
    return found


def _layout(dims: tuple[int | None, ...], wish: Layout) -> Layout:
    """The user's word, unless the shape makes it impossible. NCHW may be just the default; NHWC was said on purpose."""
    if len(dims) != 3:
        return wish
    can_be_nchw, can_be_nhwc = (dim is None or dim in _CHANNELS for dim in (dims[0], dims[2]))
    if wish == "NCHW" and not can_be_nchw and can_be_nhwc:
        return "NHWC"
    if wish == "NHWC" and not can_be_nhwc and can_be_nchw:
        message = f"the graph takes images of shape {list(dims)}, channels first: the layout must be NCHW"
        raise Rejected(f"input.layout: {message}.", code="bad_input", errors=[Problem("/input/layout", message)])
    return wish


def resolved_size(found: GraphInput, wish: tuple[int, int] | None) -> tuple[int, int] | None:
    """The size that images are brought to; None where any will do. Raises Rejected where the graph takes another."""
    if found.size_axes is None:
        return wish
    fixed = [found.dims[axis] for axis in found.size_axes]
    if None in fixed:
        return wish
    size = (fixed[0] or 0, fixed[1] or 0)
    if wish is not None and wish != size:
        message = f"the graph takes images of {size[0]} x {size[1]}, not {wish[0]} x {wish[1]}"
        raise Rejected(f"input.size: {message}.", code="bad_input", errors=[Problem("/input/size", message)])
    return size

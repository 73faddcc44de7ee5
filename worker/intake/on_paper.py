"""What a checkpoint's pickle describes, as records: storages, tensors over them, and the few calls that make them.

Every claim is checked as far as it can be without the numbers. Damage raises ValueError or TypeError.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

#: Storage classes and the bytes of one of their elements. Quantised and complex weights are not on it.
STORAGES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
#: All that a pickle of tensors may import.
GLOBALS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    *(f"torch.{name}" for name in STORAGES),
}

_MAX_DIMS = 16


@dataclass(frozen=True)
class Global:
    """A name that the pickle imports."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of numbers that lies outside of the pickle; `start` and `length` cut a view out of it (old files)."""

    key: str
    kind: str
    numel: int
    start: int
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes that the file must hold for it."""
        return self.numel * STORAGES[self.kind]


@dataclass(frozen=True)
class TensorOnPaper:
    """A dense tensor, strided over its storage."""

    storage: Storage
    size: tuple[int, ...]


def check_counts(*counts: Any) -> None:
    """Sizes, strides and offsets are whole numbers from 0 up; anything else raises ValueError."""
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("a size, stride or offset is no whole number")


def pairs_of(items: Iterable[tuple[Any, Any]]) -> dict[str | int, Any]:
    """Keys are names, or the numbers of an optimizer's parameters: a nest of tuples takes for ever to hash."""
    pairs = dict[str | int, Any]()
    for key, value in items:
        if not isinstance(key, str | int):
            raise TypeError("a key is neither text nor a number")
        pairs[key] = value
    return pairs


def _ordered_dict(items: Any = ()) -> dict[str | int, Any]:
    """Python 2 wrote the items as an argument, Python 3 sets them afterwards."""
    return pairs_of(items)


def _size(dims: Any) -> tuple[int, ...]:
    check_counts(*dims)
    return tuple(dims)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorOnPaper:
    """Within its storage, and no larger than it: a stride of 0 makes terabytes out of four bytes."""
    check_counts(offset, *size, *stride)
    if not isinstance(storage, Storage) or len(size) != len(stride) or len(size) > _MAX_DIMS:
        raise ValueError("a tensor is described wrongly")
    reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if math.prod(size) and (reach > storage.length or math.prod(size) > storage.length):
        raise ValueError(f"a tensor of shape {list(size)} does not lie within its storage")
    return TensorOnPaper(storage, tuple(size))


def _parameter(data: Any, *_: Any) -> TensorOnPaper:
    if not isinstance(data, TensorOnPaper):
        raise ValueError("a parameter without a tensor")  # noqa: TRY004 - a damaged file, not a wrong call
    return data


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}

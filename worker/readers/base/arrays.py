"""An array that lies in a file: read a few rows at a time, so that it may be larger than the memory.

Sources: the .npy format, NEP 1 of NumPy; the IDX format, as the MNIST page of Y. LeCun et al. describes it.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base.case import Case

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NPY_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
#: What NumPy raises for a header that is none; it takes those of Python 2 apart with `tokenize`.
_BAD_HEADER = (ValueError, TypeError, OSError, EOFError, SyntaxError, RecursionError, MemoryError, TokenError)
#: A whole array of this many bytes may be held to be turned round.
_MAX_FORTRAN_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """`shape` and `dtype` of C-ordered data that start at byte `start` of the file; they are all there, checked."""

    path: Path
    name: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def rows(self, first: int, last: int) -> NDArray[np.generic]:
        """Rows first to last - 1, in memory."""
        last = min(last, len(self))
        with self.path.open("rb") as file:
            file.seek(self.start + first * self.row_bytes)
            flat = np.fromfile(file, self.dtype, (last - first) * math.prod(self.shape[1:]))
        return flat.reshape(last - first, *self.shape[1:])

    def blocks(self, block_bytes: int) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """(number of the first row, rows) over the whole array."""
        step = max(1, block_bytes // max(1, self.row_bytes))
        for first in range(0, len(self), step):
            yield first, self.rows(first, first + step)

    def whole(self) -> NDArray[np.generic]:
        """All of it, in memory."""
        return self.rows(0, len(self))


def open_npy(path: Path, name: str, case: Case) -> ArrayFile:
    """The array in a .npy file. Pickled objects are never loaded.

    Raises: Rejected for objects, structured or complex types, and headers that claim more than the file holds.
    """
    with path.open("rb") as file:
        try:
            read_header = _NPY_HEADERS.get(npy.read_magic(file), npy.read_array_header_2_0)
            shape, is_fortran, dtype = read_header(file)
        except _BAD_HEADER as error:
            raise Rejected(
                f"{name} has a .npy header that cannot be read ({error}). Save the array again with numpy.savez.",
                code="damaged",
            ) from error
        start = file.tell()
    if dtype.hasobject:
        raise Rejected(
            f"{name} holds Python objects (pickle), which are never loaded. Save a plain array: numbers, or strings as "
            "a numpy dtype 'U'.",
            code="pickle",
        )
    if dtype.kind not in "biufUS" or dtype.itemsize > 4096 or (dtype.kind == "f" and dtype.itemsize > 8):
        raise Rejected(
            f"{name} has dtype {dtype}; integers, floats, booleans or strings are read. Convert it with astype.",
            code="array",
        )
    array = _checked(ArrayFile(path, name, start, tuple(shape), dtype))
    return _turned(array, case) if is_fortran and len(shape) > 1 else array


def open_idx(path: Path, name: str) -> ArrayFile:
    """The array in an IDX file. Raises: Rejected where its header claims more than the file holds."""
    with path.open("rb") as file:
        magic = file.read(4)
        num_dims = magic[3] if len(magic) == 4 else 0
        sizes = file.read(4 * num_dims)
    if num_dims == 0 or magic[2] not in _IDX_TYPES or len(sizes) < 4 * num_dims:
        raise Rejected(f"{name} has no IDX header.", code="damaged")
    shape = struct.unpack(f">{num_dims}I", sizes)
    return _checked(ArrayFile(path, name, 4 + len(sizes), shape, np.dtype(_IDX_TYPES[magic[2]])))


def _checked(array: ArrayFile) -> ArrayFile:
    """The claim of the header against the file."""
    if not array.shape or 0 in array.shape[1:]:
        raise Rejected(f"{array.name} has shape {array.shape}, which is no array of rows.", code="array")
    held = array.path.stat().st_size - array.start
    claimed = math.prod(array.shape) * array.dtype.itemsize
    if min(array.shape) < 0 or claimed > held:
        raise Rejected(
            f"{array.name} claims shape {array.shape} of {array.dtype}, {claimed} bytes, but holds {held}. It is cut "
            "short or damaged; save and upload it again.",
            code="damaged",
        )
    return array


def _turned(array: ArrayFile, case: Case) -> ArrayFile:
    """The same array in C order: NumPy stored the first index fastest."""
    size = math.prod(array.shape) * array.dtype.itemsize
    if size > _MAX_FORTRAN_BYTES:
        raise Rejected(
            f"{array.name} is stored in Fortran order, read here up to {_MAX_FORTRAN_BYTES} bytes. Save "
            "numpy.ascontiguousarray of it.",
            code="array",
        )
    flipped = replace(array, shape=array.shape[::-1])
    path = case.new_scratch()
    flipped.whole().T.reshape(-1).tofile(path)
    return replace(array, path=path, start=0)

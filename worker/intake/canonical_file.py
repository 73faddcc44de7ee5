"""Writes the canonical data set, a safetensors file, by streaming: x may be larger than the memory.

Source of the layout: the safetensors format description: 8 bytes little-endian header length, a JSON header that blanks
may follow, then the tensors without gaps. y comes first, so that each tensor lies on a multiple of its item's size.
"""

import json
import math
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"uint8": "U8", "float32": "F32", "int64": "I64"}
_COPY_BYTES = 4 * 2**20
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class RawTensor:
    """A C-ordered tensor that lies alone in a file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]


def write_canonical(target: Path, x: RawTensor, y: NDArray[np.generic], split: NDArray[np.uint8]) -> None:
    """Writes x, y (N,) and split (N,) into `target` and flushes it to the disk."""
    sizes = {
        "y": (y.dtype.name, y.shape),
        "x": (x.dtype, x.shape),
        "split": (split.dtype.name, split.shape),
    }
    with target.open("wb") as out:
        out.write(_header(sizes))
        out.write(np.ascontiguousarray(y).data)
        with x.path.open("rb") as source:
            shutil.copyfileobj(source, out, _COPY_BYTES)
        out.write(np.ascontiguousarray(split).data)
        out.flush()
        os.fsync(out.fileno())


def _header(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> bytes:
    entries, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        entries[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text

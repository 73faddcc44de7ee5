"""Writes canonical safetensors files by streaming: a tensor may be larger than the memory.

Source of the layout: the safetensors format description: 8 bytes little-endian header length, a JSON header that blanks
may follow, then the tensors without gaps. The widest come first, so that each lies on a multiple of its item's size.
"""

import json
import math
import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"uint8": "U8", "int32": "I32", "float32": "F32", "int64": "I64"}
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
    write_tensors(target, {"y": y, "x": x, "split": split})


def write_tensors(target: Path, tensors: Mapping[str, RawTensor | NDArray[np.generic]]) -> None:
    """Writes the tensors, in that order, into `target` and flushes it to the disk."""
    with target.open("wb") as out:
        out.write(_header({name: (str(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}))
        for tensor in tensors.values():
            if isinstance(tensor, RawTensor):
                with tensor.path.open("rb") as source:
                    shutil.copyfileobj(source, out, _COPY_BYTES)
            else:
                out.write(np.ascontiguousarray(tensor).data)
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

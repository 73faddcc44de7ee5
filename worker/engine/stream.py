"""Rows of a canonical file that are read as they are needed, for data sets beyond the memory that a job may use.

They are read and not mapped: on large pages a look at one row would map two megabytes of the file into the process. The
kernel keeps what was read cached where nobody needs the room, and the process holds a few batches and no more.
"""

import json
import os
import weakref
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = {"U8": torch.uint8, "F32": torch.float32, "I32": torch.int32}


class FileRows:
    """The tensor x of a safetensors file, (N, ...) with images channels first. It may be read by several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        size = int.from_bytes(os.pread(self._handle, 8, 0), "little")
        entry = json.loads(os.pread(self._handle, size, 8))["x"]
        self.dtype = _DTYPES[entry["dtype"]]
        self._start = 8 + size + entry["data_offsets"][0]
        self._num_rows: int = entry["shape"][0]
        self._shape: list[int] = entry["shape"][1:]
        self._row_bytes = torch.Size(self._shape).numel() * self.dtype.itemsize

    def __len__(self) -> int:
        return self._num_rows

    def advise(self, *, in_order: bool) -> None:
        """Whether the kernel should read what follows a row as well."""
        advice = os.POSIX_FADV_SEQUENTIAL if in_order else os.POSIX_FADV_RANDOM
        os.posix_fadvise(self._handle, 0, 0, advice)

    def take(self, ids_B: Tensor) -> Tensor:
        """Rows (B, ...), a copy; images channels last (B, H, W, C). Raises OSError where the file has been cut off."""
        rows = torch.empty((len(ids_B), *self._shape), dtype=self.dtype)
        into, ids = rows.view(len(ids_B), -1).view(torch.uint8).numpy().reshape(-1).data, ids_B.tolist()
        breaks = [at for at in range(1, len(ids)) if ids[at] != ids[at - 1] + 1]
        for first, end in pairwise([0, *breaks, len(ids)]):
            part = into[first * self._row_bytes : end * self._row_bytes]
            self._read(part, self._start + ids[first] * self._row_bytes)
        if rows.ndim != 4:
            return rows
        B, C, H, W = rows.shape
        # Not `contiguous`: a single channel would keep strides that no tensor in memory has.
        return torch.empty((B, H, W, C), dtype=rows.dtype).copy_(rows.permute(0, 2, 3, 1))

    def _read(self, into: memoryview, place: int) -> None:
        done = 0
        while done < len(into):
            got = os.preadv(self._handle, [into[done:]], place + done)
            if not got:
                raise OSError(f"{self._path.name} ends before its last row")
            done += got

"""The canonical data set, whole on the device where it fits, and the order in which an epoch reads it.

A batch is one `index_select`; nothing is decoded, copied twice or moved between processes: what a canonical file holds
was decoded once, when it was handed in. One beyond the memory for it is read as it goes; see worker.engine.stream.
Images are kept channels-last, the order in which cuts and convolutions are fast.
Shapes: N rows of the file, n rows of a split, B rows of a batch.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from core.errors import UserInput
from models.canonical import SPLITS, DatasetMeta
from models.seeds import derive
from models.spec.shapes import stored
from worker.engine.stream import FileRows

#: The share of a GPU's free memory that the data set may take.
_GPU_SHARE = 0.5
#: Rows that are checked at once.
_LOOKED_AT = 4096
#: Batches of a streamed split that are got ahead.
_AHEAD = 3


@dataclass(frozen=True)
class Rows:
    """A few samples: raw (B, D), token ids (B, L), or (B, C, H, W) in channels-last memory; y (B,), ids (B,) the row
    numbers."""

    raw: Tensor
    y: Tensor
    ids: Tensor


class Split:
    """The rows of one split, addressed by their position in it: 0 to n - 1."""

    #: Whether any rows can be had at once at no more than their own cost.
    at_random = True

    def __init__(self, x: Tensor, y: Tensor, rows: Tensor, device: torch.device) -> None:
        self._x, self._rows, self._device = x, rows, device
        self._y = y.to(device)

    @property
    def row_bytes(self) -> int:
        """Of one sample as it is kept."""
        return self._x[:1].nbytes

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def y(self) -> Tensor:
        """The labels of the whole split (n,), on the device."""
        return self._y.index_select(0, self._rows.to(self._device))

    @property
    def ids(self) -> Tensor:
        """The ids of the whole split (n,), ascending: row numbers of the file."""
        return self._rows

    def take(self, positions_B: Tensor) -> Rows:
        """The samples at these positions, on the device."""
        ids_B = self._rows.index_select(0, positions_B)
        return self._rows_of(self._x.index_select(0, ids_B), ids_B)

    def _rows_of(self, raw: Tensor, ids_B: Tensor) -> Rows:
        """The samples of rows as they lie in memory: images (B, H, W, C)."""
        if raw.ndim == 4:
            raw = raw.permute(0, 3, 1, 2)
        if raw.device != self._device:
            raw, ids_B = raw.to(self._device, non_blocking=True), ids_B.to(self._device, non_blocking=True)
        return Rows(raw, self._y.index_select(0, ids_B), ids_B)

    def in_order(self, batch_size: int) -> Iterator[Tensor]:
        """Positions from first to last, the last batch as small as it is."""
        return iter(torch.split(torch.arange(len(self), device=self._rows.device), batch_size))

    def shuffled(self, seed: int, epoch: int, batch_size: int) -> list[Tensor]:
        """The positions of one epoch in batches: a pure function of (seed, epoch).

        A last batch of one sample joins the batch before it: batch normalisation cannot train on one.
        """
        generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
        order = torch.randperm(len(self), generator=generator).to(self._rows.device)
        batches = list(torch.split(order, batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1 < batch_size:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def num_batches(self, batch_size: int) -> int:
        """How many batches `shuffled` gives."""
        full, rest = divmod(len(self), batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0))  # one row alone joins the batch before it


class StreamedSplit(Split):
    """The rows of one split, read from the file by a thread ahead of the order in which they were announced.

    They have the order and the bits that they would have in memory.
    """

    at_random = False

    def __init__(self, x: FileRows, y: Tensor, rows: Tensor, device: torch.device, reader: ThreadPoolExecutor) -> None:
        super().__init__(torch.empty(0), y, rows, device)
        self._file, self._reader = x, reader
        self._plan: list[Tensor] = []
        self._places: dict[int, int] = {}
        self._coming: dict[int, Future[Tensor]] = {}

    def take(self, positions_B: Tensor) -> Rows:
        """The samples at these positions, on the device."""
        ids_B = self._rows.index_select(0, positions_B)
        place = self._places.get(id(positions_B))
        if place is None:
            raw = self._read(positions_B)
        else:
            self._look_ahead(place)
            raw = self._coming.pop(place).result()
        return self._rows_of(raw, ids_B)

    def in_order(self, batch_size: int) -> Iterator[Tensor]:
        """Positions from first to last; each batch is got while the one before it is used."""
        plan = list(super().in_order(batch_size))
        self._announce(plan, in_order=True)
        return iter(plan)

    def shuffled(self, seed: int, epoch: int, batch_size: int) -> list[Tensor]:
        """The positions of one epoch in batches, as in memory."""
        plan = super().shuffled(seed, epoch, batch_size)
        self._announce(plan, in_order=False)
        return plan

    def _announce(self, plan: list[Tensor], *, in_order: bool) -> None:
        for future in self._coming.values():
            future.cancel()
        self._file.advise(in_order=in_order)
        # By identity: the loop hands back the very tensors that it was given. They are held, so no other has their id.
        self._plan, self._places = plan, {id(positions_B): place for place, positions_B in enumerate(plan)}
        self._coming = {}

    def _look_ahead(self, place: int) -> None:
        for coming in range(place, min(place + 1 + _AHEAD, len(self._plan))):
            if coming not in self._coming:
                self._coming[coming] = self._reader.submit(self._read, self._plan[coming])

    def _read(self, positions_B: Tensor) -> Tensor:
        raw = self._file.take(self._rows.index_select(0, positions_B))
        return raw.pin_memory() if self._device.type == "cuda" else raw


def load(path: Path, meta: DatasetMeta, device: torch.device, memory_bytes: int = 0) -> dict[str, Split]:
    """The three splits of a canonical file.

    Its rows may take `memory_bytes` of the host's memory (0: all that they need); more are read as they are needed.
    """
    with safe_open(path, framework="pt") as file:
        x, y, split = file.get_tensor("x"), file.get_tensor("y").clone(), file.get_tensor("split").clone()
    _refuse_wrong_shape(x, y, split, meta)
    place = home(x, device)
    if memory_bytes and place.type == "cpu" and x.nbytes > memory_bytes:
        splits = _streamed(path, y, split, device)
    else:
        splits = _in_memory(x, y, split, place, device)
    if not len(splits["train"]):
        raise UserInput("the data set has no training rows", code="no_training_rows")
    return splits


def _in_memory(x: Tensor, y: Tensor, split: Tensor, place: torch.device, device: torch.device) -> dict[str, Split]:
    _refuse_not_finite(x)
    if x.ndim == 4:
        x = x.permute(0, 2, 3, 1).contiguous()
    x = x.to(place)
    return {name: Split(x, y, rows.to(x.device), device) for name, rows in _rows_of(split)}


def _streamed(path: Path, y: Tensor, split: Tensor, device: torch.device) -> dict[str, Split]:
    x, reader = FileRows(path), ThreadPoolExecutor(1, thread_name_prefix="rows")
    if x.dtype.is_floating_point:
        x.advise(in_order=True)
        for ids_B in torch.split(torch.arange(len(x)), _LOOKED_AT):
            _refuse_not_finite(x.take(ids_B))
    return {name: StreamedSplit(x, y, rows, device, reader) for name, rows in _rows_of(split)}


def _rows_of(split: Tensor) -> Iterator[tuple[str, Tensor]]:
    for code, name in enumerate(SPLITS):
        yield name, (split == code).nonzero().squeeze(1)


def home(x: Tensor, device: torch.device) -> torch.device:
    """Where the rows live: on the device, or on the host where they would crowd it."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if x.nbytes <= _GPU_SHARE * free else torch.device("cpu")


def _refuse_wrong_shape(x: Tensor, y: Tensor, split: Tensor, meta: DatasetMeta) -> None:
    assert len(x) == len(y) == len(split), "a canonical file has one label and one split for each row"
    assert tuple(x.shape[1:]) == stored(meta.input_shape), "a canonical file has the shape that its record says"


def _refuse_not_finite(x: Tensor) -> None:
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise UserInput("the data set holds features that are not finite", code="data_not_finite")

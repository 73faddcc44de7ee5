"""The canonical data set, whole on the device where it fits, and the order in which an epoch reads it.

A batch is one `index_select`; nothing is decoded, copied twice or moved between processes. The file is memory-mapped,
so that a data set that stays on the host costs page cache and no memory of its own.
Images are kept channels-last, the order in which cuts and convolutions are fast.
Shapes: N rows of the file, n rows of a split, B rows of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from core.errors import UserInput
from models.canonical import SPLITS, DatasetMeta
from worker.engine.seeds import derive

#: The share of a GPU's free memory that the data set may take.
_GPU_SHARE = 0.5


@dataclass(frozen=True)
class Rows:
    """A few samples: raw (B, D), or (B, C, H, W) in channels-last memory; y (B,), ids (B,) the row numbers."""

    raw: Tensor
    y: Tensor
    ids: Tensor


class Split:
    """The rows of one split, addressed by their position in it: 0 to n - 1."""

    def __init__(self, x: Tensor, y: Tensor, rows: Tensor, device: torch.device) -> None:
        self._x, self._rows, self._device = x, rows, device
        self._y = y.to(device)

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
        raw = self._x.index_select(0, ids_B)
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


def load(path: Path, meta: DatasetMeta, device: torch.device) -> dict[str, Split]:
    """The three splits of a canonical file."""
    with safe_open(path, framework="pt") as file:
        x, y, split = file.get_tensor("x"), file.get_tensor("y"), file.get_tensor("split")
    _refuse_broken(x, y, split, meta)
    if x.ndim == 4:
        x = x.permute(0, 2, 3, 1).contiguous()
    x = x.to(home(x, device))
    splits = {}
    for code, name in enumerate(SPLITS):
        rows = (split == code).nonzero().squeeze(1).to(x.device)
        splits[name] = Split(x, y, rows, device)
    if not len(splits["train"]):
        raise UserInput("the data set has no training rows", code="no_training_rows")
    return splits


def home(x: Tensor, device: torch.device) -> torch.device:
    """Where the rows live: on the device, or on the host where they would crowd it."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if x.nbytes <= _GPU_SHARE * free else torch.device("cpu")


def _refuse_broken(x: Tensor, y: Tensor, split: Tensor, meta: DatasetMeta) -> None:
    assert len(x) == len(y) == len(split), "a canonical file has one label and one split for each row"
    assert tuple(x.shape[1:]) == meta.input_shape, "a canonical file has the shape that its record says"
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise UserInput("the data set holds features that are not finite", code="data_not_finite")

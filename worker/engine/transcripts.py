"""What a job's teachers say of its splits: on the shelf under all that decides it, or asked for and put there.

Each stored teacher is kept for itself, so that a job with one finds what an ensemble has had asked, and the other way
round. Networks of the job's own and given outputs are not: nobody else has the first, and the second are a table.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from models.spec.training import Train
from models.work import WorkOrder
from worker.engine import shelf
from worker.engine.augment import Augmentation
from worker.engine.cache import Check, Filling, Kept, Tally, Way, without_units
from worker.engine.cut import Cut
from worker.engine.data import Rows, Split
from worker.engine.evaluate import batch_rows
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.sources.ensemble import EnsembleTeacher
from worker.engine.sources.source import Says


@dataclass(frozen=True)
class Asked:
    """What teachers are asked about: a split of the data by its name, and the view that it is shown in."""

    name: str
    split: Split
    augmentation: Augmentation | None = None
    view: int = 0

    def shown(self, rows: Rows) -> Rows:
        """The rows in the view."""
        if self.augmentation is None:
            return rows
        return replace(rows, raw=self.augmentation(rows.raw, rows.ids, self.view))


class Transcripts:
    """Tables of one job."""

    def __init__(self, order: WorkOrder, device: torch.device) -> None:
        self._order, self._device = order, device
        self.tally = Tally()

    def of_training(self, teacher: Says, asked: Asked, train: Train, check: Check, cut: Cut | None = None) -> Kept:
        """For the steps: in the run's own numbers, with all that the losses read."""
        rounded = asked.augmentation is not None or cut is not None
        way = Way(batch_rows(train.batch_size), self._device, asked.shown, rounded=rounded, cut=cut)
        return self._kept(teacher, asked, way, check, is_shared=train.teacher_cache != "off")

    def of_scoring(self, teacher: Says, asked: Asked, check: Check) -> Outputs:
        """For figures that are reported: in float32 arithmetic, outputs alone: logits (n, C) and weights, of its
        members as well."""
        train = self._order.spec.train
        way = Way(batch_rows(train.batch_size), self._device, exact=True)
        return self._kept(teacher, asked, way, check, is_shared=train.teacher_cache != "off").outputs

    def _kept(self, teacher: Says, asked: Asked, way: Way, check: Check, *, is_shared: bool) -> Kept:
        if isinstance(teacher, EnsembleTeacher):
            together = copy.copy(teacher)
            together.members = {
                name: _Recalled(self._kept(voice, asked, way, check, is_shared=is_shared), asked.split, voice.precision)
                for name, voice in teacher.members.items()
            }
            return Filling(together, asked.split, replace(way, shown=None, rounded=False), check).kept()
        content = getattr(teacher, "content", None)
        if content is None:
            counted = Filling(teacher, asked.split, way, check, tally=self.tally)
            return counted.kept()
        with without_units(teacher) as units, self._table(teacher, content, asked, way, is_shared) as table:
            kept = Filling(teacher, asked.split, way, check, table, self.tally).kept()
        if units is not None:
            kept.outputs.logits = kept.outputs.logits * units[0] + units[1]
        return kept

    @contextmanager
    def _table(
        self, teacher: Says, content: dict[str, object], asked: Asked, way: Way, is_shared: bool
    ) -> Iterator[shelf.Table | None]:
        order = self._order
        if not is_shared or order.cache_dir is None:
            yield None
            return
        key = {
            "owner": order.owner,
            # Figures that are reported come of the network as it was handed in, whatever answers the steps.
            "teacher": {**content, "folded": False} if way.exact else content,
            "data": order.dataset_sha256,
            "record": _hash(order.dataset.model_dump(mode="json")),
            "split": asked.name,
            "view": None if asked.augmentation is None else [asked.augmentation.content, asked.view],
            "batch": way.batch_size,
            "rounded": way.rounded,
            "numbers": "exact" if way.exact else repr(teacher.precision),
            "machine": _machine(self._device),
            **({} if way.cut is None else {"top_k": way.cut.k}),
        }
        with shelf.opened(Path(order.cache_dir), key, order.cache_bytes) as table:
            yield table


class _Recalled:
    """A teacher that has answered already, asked about rows of that split again."""

    units: tuple[float, float] | None = None
    content: dict[str, object] | None = None

    def __init__(self, kept: Kept, split: Split, precision: Precision) -> None:
        self._kept, self._ids, self.precision = kept, split.ids, precision

    def __call__(self, rows: Rows, *, exact: bool = False) -> Outputs:
        """As it was kept."""
        del exact
        return self._kept.take(self._places(rows.ids))

    def _places(self, ids_B: Tensor) -> Tensor:
        return torch.searchsorted(self._ids, ids_B.to(self._ids.device)).to(ids_B.device)


def _machine(device: torch.device) -> list[object]:
    """What else the last bit of a figure hangs on."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    conv = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    tf32 = [torch.backends.cuda.matmul.fp32_precision, conv]
    return [torch.__version__, device.type, chip, torch.get_num_threads(), torch.get_float32_matmul_precision(), *tf32]


def _hash(record: object) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

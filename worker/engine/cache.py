"""What the teacher says of whole splits, kept: for the steps of this job, and on the shelf for others.

Where training samples never change, or come in a few fixed views, the teacher's outputs do not change either. They are
computed once, in the order of the split and in batches of one size, so that each value is the same whoever computes it,
and then looked up. Whether chunks of it come off the shelf or from the teacher changes the time and nothing else.
Shapes: n rows of the split.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from worker.engine.cut import Cut
from worker.engine.data import Rows, Split
from worker.engine.outputs import Outputs
from worker.engine.packed import named, outputs_of, rounded
from worker.engine.rest import Rest
from worker.engine.shelf import Table
from worker.engine.sources.source import Says

#: Kept outputs of a split may take so many bytes. A fixed figure, so that a job decides alike wherever it is resumed.
MAX_BYTES = 2 * 2**30
#: Batches of one chunk on the shelf.
_CHUNK = 8
#: What another process computes just now is waited for so long, and then computed here as well.
_PATIENCE_S, _LOOK_S = 20.0, 0.05

Check = Callable[[], None]
#: What the rows of a split look like.
Shown = Callable[[Rows], Rows]


@dataclass
class Tally:
    """What a job had from the shelf and what its teachers were asked for, in rows."""

    reused_rows: int = 0
    computed_rows: int = 0
    #: Asked about at single steps, where samples change.
    asked_rows: int = 0
    #: Computed, and not kept for other jobs: there is no room.
    unshared_rows: int = 0
    #: Of files that were read and written.
    bytes: int = 0
    #: What the rows that were there had taken.
    saved_s: float = 0.0

    def as_dict(self) -> dict[str, float | None]:
        """For the report."""
        known = self.reused_rows + self.computed_rows
        ratio = round(self.reused_rows / known, 4) if known else None
        return {**asdict(self), "saved_s": round(self.saved_s, 3), "hit_ratio": ratio}


@dataclass(frozen=True)
class Kept:
    """The outputs for all samples of a split, by position: logits (n, C), embedding (n, D), features (n, ...),
    weight (n,), and the same for each member of an ensemble. With a cut logits are (n, k)."""

    outputs: Outputs
    cut: Cut | None = None

    @property
    def row_bytes(self) -> int:
        """Of the outputs for one sample, as they are looked up."""
        own = _num_bytes(self.outputs) // max(1, len(self.outputs.logits))
        return own if self.cut is None else own + 4 * self.cut.num_classes

    def take(self, positions_B: Tensor, _epoch: int = 0) -> Outputs:
        """The outputs of some samples."""
        found = each(self.outputs, lambda x: x.index_select(0, positions_B))
        return found if self.cut is None else self.cut.undone(found)


class KeptViews:
    """The same for samples that come in fixed views: a table for each, made when its first epoch begins.

    As many as fit stay in memory; the others are made anew, which is cheap where they lie on the shelf.
    """

    def __init__(self, views: int, make: Callable[[int], Kept]) -> None:
        self._views, self._make = views, make
        self._kept: dict[int, Kept] = {}
        self._passing: tuple[int, Kept] | None = None

    @property
    def row_bytes(self) -> int:
        """Of the outputs for one sample; 0 before the first table is there."""
        return max((one.row_bytes for one in self._kept.values()), default=0)

    def take(self, positions_B: Tensor, epoch: int) -> Outputs:
        """The outputs of some samples in the view of this epoch."""
        return self._of(epoch % self._views).take(positions_B)

    def _of(self, view: int) -> Kept:
        if view in self._kept:
            return self._kept[view]
        if self._passing is None or self._passing[0] != view:
            self._passing = None  # before the next one is made: it is as large
            self._passing = view, self._make(view)
        kept = self._passing[1]
        held = sum(_num_bytes(one.outputs) for one in self._kept.values())
        if held + _num_bytes(kept.outputs) <= MAX_BYTES:
            self._kept[view], self._passing = kept, None
        return kept


@dataclass(frozen=True)
class Way:
    """How a teacher is asked about a split: what it is shown, in whose numbers, and how what it says is kept."""

    batch_size: int
    device: torch.device
    shown: Shown | None = None
    #: In float32 and without a look at labels, for figures that are reported: outputs alone.
    exact: bool = False
    #: To half the bits of float32: within a share of 2^-11 of each value.
    rounded: bool = False
    cut: Cut | None = None


def size(sample: Outputs, num_rows: int, cut: Cut | None = None) -> int:
    """Bytes of the outputs of so many rows in memory, judged by those of a few."""
    return sum(x[0].numel() * 4 for x in tensors(cut(sample) if cut else sample)) * num_rows


def fits(sample: Outputs, num_rows: int, cut: Cut | None = None) -> bool:
    """Whether the outputs of so many rows may be kept."""
    return size(sample, num_rows, cut) <= MAX_BYTES


@dataclass
class Filling:
    """One table on its way: chunk by chunk off the shelf, or from the teacher."""

    teacher: Says
    split: Split
    way: Way
    check: Check
    #: None where the outputs are this job's alone.
    table: Table | None = None
    tally: Tally = field(default_factory=Tally)
    _into: Outputs | None = None

    def kept(self) -> Kept:
        """The whole table."""
        waiting = list(range(-(-len(self.split) // self._chunk_rows)))
        patience = time.monotonic() + _PATIENCE_S
        while waiting:
            left = [number for number in waiting if not self._settle(number, forced=time.monotonic() > patience)]
            if left == waiting:  # another process is at each of them
                self.check()
                time.sleep(_LOOK_S)
            else:
                patience = time.monotonic() + _PATIENCE_S
            waiting = left
        assert self._into is not None, "there are rows"
        return Kept(_without_ones(self._into), self.way.cut)

    @property
    def _chunk_rows(self) -> int:
        return _CHUNK * self.way.batch_size

    def _settle(self, number: int, *, forced: bool) -> bool:
        """Put the chunk into the table; False where another process computes it."""
        if self._from_shelf(number):
            return True
        with self.table.claimed(number) if self.table is not None else nullcontext(True) as mine:
            if not mine and not forced:
                return False
            # It may have come between the look and the claim.
            if not self._from_shelf(number):
                self._from_teacher(number)
        return True

    def _from_shelf(self, number: int) -> bool:
        chunk = self.table.read(number) if self.table is not None else None
        if chunk is None:
            return False
        self.check()
        self._put(number, outputs_of(chunk.tensors))
        self.tally.reused_rows += self._rows(number)
        self.tally.saved_s += chunk.seconds
        self.tally.bytes += chunk.size
        return True

    def _from_teacher(self, number: int) -> None:
        began, parts = time.monotonic(), list[Outputs]()
        start = number * self._chunk_rows
        positions = torch.arange(start, start + self._rows(number), device=self.split.ids.device)
        for positions_B in torch.split(positions, self.way.batch_size):
            rows = self.split.take(positions_B)
            said = self.teacher(self.way.shown(rows) if self.way.shown else rows, exact=self.way.exact)
            said = _spoken(said) if self.way.exact else said
            parts.append(self.way.cut(said) if self.way.cut else said)
            self.check()
        said = joined(parts)
        if self.way.rounded:
            said = each(said, rounded)
        self._put(number, said)
        self.tally.computed_rows += self._rows(number)
        if self.table is not None:
            written = self.table.write(number, named(said), time.monotonic() - began)
            self.tally.bytes += written
            self.tally.unshared_rows += 0 if written else self._rows(number)

    def _rows(self, number: int) -> int:
        return min(self._chunk_rows, len(self.split) - number * self._chunk_rows)

    def _put(self, number: int, said: Outputs) -> None:
        if self._into is None:
            num, device = len(self.split), self.way.device
            self._into = each(said, lambda x: torch.empty((num, *x.shape[1:]), dtype=_in_memory(x), device=device))
        start = number * self._chunk_rows
        for into, new in zip(tensors(self._into), tensors(said), strict=True):
            into[start : start + len(new)] = new


@contextmanager
def without_units(teacher: Says) -> Iterator[tuple[float, float] | None]:
    """The teacher in its own units for the time of the block; gives (scale, shift) of those it is heard in."""
    units = getattr(teacher, "units", None)
    if units is None:
        yield None
        return
    teacher.units = None  # type: ignore[attr-defined]
    try:
        yield units
    finally:
        teacher.units = units  # type: ignore[attr-defined]


def tensors(outputs: Outputs) -> list[Tensor]:
    """All that was said, in one order."""
    optional = [x for x in (outputs.embedding, outputs.weight) if x is not None]
    members = [x for member in outputs.members.values() for x in tensors(member)]
    rest = [] if outputs.rest is None else [outputs.rest.classes, outputs.rest.levels]
    return [outputs.logits, *(outputs.features[name] for name in sorted(outputs.features)), *optional, *members, *rest]


def each(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """The same with every tensor changed, in the order of `tensors`."""
    return Outputs(
        change(outputs.logits),
        {name: change(outputs.features[name]) for name in sorted(outputs.features)},
        None if outputs.embedding is None else change(outputs.embedding),
        None if outputs.weight is None else change(outputs.weight),
        {name: each(member, change) for name, member in outputs.members.items()},
        None if outputs.rest is None else Rest(change(outputs.rest.classes), change(outputs.rest.levels)),
    )


def parted(outputs: Outputs, sizes: Sequence[int]) -> list[Outputs]:
    """Batches of these sizes out of several in a row; views, no copies."""
    columns = [iter(torch.split(x, list(sizes))) for x in tensors(outputs)]
    made = []
    for _ in sizes:
        places = iter(columns)
        made.append(each(outputs, lambda _, places=places: next(next(places))))  # type: ignore[misc]
    return made


def joined(parts: list[Outputs]) -> Outputs:
    """Batches of one teacher in a row."""
    columns = iter([torch.cat(column) for column in zip(*map(tensors, parts), strict=True)])
    return each(parts[0], lambda _: next(columns))


def _spoken(outputs: Outputs) -> Outputs:
    """Without features and embeddings, which would fill the memory."""
    members = {name: _spoken(member) for name, member in outputs.members.items()}
    return Outputs(outputs.logits, weight=outputs.weight, members=members)


def _without_ones(outputs: Outputs) -> Outputs:
    """Weights that are all 1 say nothing, and a loss without weights is the cheaper one."""
    weight = None if outputs.weight is None or bool((outputs.weight == 1).all()) else outputs.weight
    members = {name: _without_ones(member) for name, member in outputs.members.items()}
    return replace(outputs, weight=weight, members=members)


def _in_memory(x: Tensor) -> torch.dtype:
    return torch.float32 if x.is_floating_point() else x.dtype


def _num_bytes(outputs: Outputs) -> int:
    return sum(x.nbytes for x in tensors(outputs))

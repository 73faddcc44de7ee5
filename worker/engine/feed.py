"""One training batch: the student's input, what the losses may know, and what the teacher says of the same samples.

What is looked up comes for several batches at once: the parts of a small one cost less than to ask for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from worker.engine.augment import Augmentation
from worker.engine.cache import Kept, KeptViews, Tally, parted
from worker.engine.data import Rows, Split
from worker.engine.following import Following
from worker.engine.mixup import Mixup
from worker.engine.normalise import View
from worker.engine.outputs import Batch, Outputs
from worker.engine.sources.source import Says

#: Batches that are looked up at once take no more than this, so that they stay in a processor's cache.
_AT_ONCE_BYTES = 2**20


@dataclass(frozen=True)
class Dealt:
    """The samples of one batch, as the epoch shows them, and what a teacher has said of them before."""

    rows: Rows
    kept: Outputs | None


@dataclass(frozen=True)
class Feed:
    """Where training batches come from. `says` is the teacher, its kept outputs, or None in a run without one."""

    split: Split
    view: View
    augmentation: Augmentation | None
    says: Says | Kept | KeptViews | Following | None
    #: Makes mixtures of samples. What is kept of a teacher is of single samples, so it is not looked up then.
    mixup: Mixup | None = None
    #: Samples come in so many fixed views, in turn; None where each epoch shows them anew.
    views: int | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def asks(self) -> bool:
        """Whether someone is asked at each step what they say of the samples."""
        return self.says is not None and not isinstance(self.says, Kept | KeptViews)

    def __call__(self, positions_B: Tensor, epoch: int, progress: float) -> tuple[Tensor, Batch, Outputs | None]:
        """The batch of these positions, as this epoch shows it."""
        return self.serve(next(self.deal([positions_B], epoch)), epoch, progress)

    def deal(self, batches: Sequence[Tensor], epoch: int) -> Iterator["Dealt"]:
        """What is looked up for each of these batches of positions, in their order."""
        at_once = self._at_once(len(batches[0])) if batches else 1
        for first in range(0, len(batches), at_once):
            yield from self._dealt(batches[first : first + at_once], epoch)

    def serve(self, dealt: "Dealt", epoch: int, progress: float) -> tuple[Tensor, Batch, Outputs | None]:
        """The batch, and what the teacher says of it where that was not looked up."""
        rows, teacher = dealt.rows, dealt.kept
        batch = Batch(rows.y, rows.ids, progress=progress)
        if self.mixup is not None:
            assert teacher is None, "mixtures are asked about"
            mixed = self.mixup(rows, epoch)
            rows, batch.y_other, batch.share = mixed.rows, mixed.y_other, mixed.share
        if teacher is None and self.says is not None:
            assert not isinstance(self.says, Kept | KeptViews), "they are looked up"
            teacher = self.says(rows)
            self.tally.asked_rows += len(rows.ids)
        return self.view(rows.raw), batch, teacher

    def _dealt(self, batches: Sequence[Tensor], epoch: int) -> Iterator["Dealt"]:
        sizes = [len(positions_B) for positions_B in batches]
        positions_M = batches[0] if len(batches) == 1 else torch.cat(list(batches))
        rows, kept = self.split.take(positions_M), None
        if self.augmentation is not None:
            rows = replace(rows, raw=self.augmentation(rows.raw, rows.ids, self._view_of(epoch)))
        if isinstance(self.says, Kept | KeptViews):
            kept = self.says.take(positions_M.to(rows.y.device), epoch)
        columns = zip(*(torch.split(x, sizes) for x in (rows.raw, rows.y, rows.ids)), strict=True)
        answers = [None] * len(sizes) if kept is None else parted(kept, sizes)
        return (Dealt(Rows(*each), said) for each, said in zip(columns, answers, strict=True))

    def _at_once(self, batch_size: int) -> int:
        """As many batches as fit into the bytes for it."""
        row_bytes = self.split.row_bytes + (self.says.row_bytes if isinstance(self.says, Kept | KeptViews) else 0)
        return max(1, _AT_ONCE_BYTES // (row_bytes * batch_size)) if self.split.at_random else 1

    def _view_of(self, epoch: int) -> int:
        return epoch if self.views is None else epoch % self.views

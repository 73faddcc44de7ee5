"""One training batch: the student's input, what the losses may know, and what the teacher says of the same samples."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from worker.engine.augment import Augmentation
from worker.engine.cache import Kept, KeptViews, Tally
from worker.engine.data import Split
from worker.engine.following import Following
from worker.engine.mixup import Mixup
from worker.engine.normalise import View
from worker.engine.outputs import Batch, Outputs
from worker.engine.sources.source import Says


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

    def __call__(self, positions_B: Tensor, epoch: int, progress: float) -> tuple[Tensor, Batch, Outputs | None]:
        """The batch of these positions, as this epoch shows it."""
        rows = self.split.take(positions_B)
        if self.augmentation is not None:
            rows = replace(rows, raw=self.augmentation(rows.raw, rows.ids, self._view_of(epoch)))
        batch = Batch(rows.y, rows.ids, progress=progress)
        if self.mixup is not None:
            assert not isinstance(self.says, Kept | KeptViews), "mixtures are asked about"
            mixed = self.mixup(rows, epoch)
            rows, batch.y_other, batch.share = mixed.rows, mixed.y_other, mixed.share
        teacher: Outputs | None = None
        if isinstance(self.says, Kept | KeptViews):
            teacher = self.says.take(positions_B.to(rows.y.device), epoch)
        elif self.says is not None:
            teacher = self.says(rows)
            self.tally.asked_rows += len(positions_B)
        return self.view(rows.raw), batch, teacher

    def _view_of(self, epoch: int) -> int:
        return epoch if self.views is None else epoch % self.views

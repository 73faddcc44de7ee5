"""One training batch: the student's input, what the losses may know, and what the teacher says of the same samples."""

from dataclasses import dataclass, replace

from torch import Tensor

from worker.engine.augment import Augmentation
from worker.engine.cache import Kept
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
    says: Says | Kept | Following | None
    #: Makes mixtures of samples. What is kept of a teacher is of single samples, so it is not looked up then.
    mixup: Mixup | None = None

    def __call__(self, positions_B: Tensor, epoch: int, progress: float) -> tuple[Tensor, Batch, Outputs | None]:
        """The batch of these positions, as this epoch shows it."""
        rows = self.split.take(positions_B)
        if self.augmentation is not None:
            rows = replace(rows, raw=self.augmentation(rows.raw, rows.ids, epoch))
        batch = Batch(rows.y, rows.ids, progress=progress)
        if self.mixup is not None:
            assert not isinstance(self.says, Kept), "mixtures are asked about"
            mixed = self.mixup(rows, epoch)
            rows, batch.y_other, batch.share = mixed.rows, mixed.y_other, mixed.share
        teacher: Outputs | None = None
        if isinstance(self.says, Kept):
            teacher = self.says.take(positions_B.to(rows.y.device))
        elif self.says is not None:
            teacher = self.says(rows)
        return self.view(rows.raw), batch, teacher

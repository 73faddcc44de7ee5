"""Outputs of which the largest logits alone are kept: the job's wish, as it fits a teacher."""

from dataclasses import dataclass, replace

from models.spec.training import Train
from worker.engine.outputs import Outputs
from worker.engine.rest import largest


@dataclass(frozen=True)
class Cut:
    """So many of the logits of so many classes are kept."""

    k: int
    num_classes: int

    def __call__(self, said: Outputs) -> Outputs:
        """The outputs with the largest logits alone, (n, k)."""
        logits, rest = largest(said.logits, self.k)
        return replace(said, logits=logits, rest=rest)

    def undone(self, kept: Outputs) -> Outputs:
        """The outputs with logits of all classes, of which some are right as a whole."""
        assert kept.rest is not None, "they were cut"
        return replace(kept, logits=kept.rest.spread(kept.logits, self.num_classes))

    def share_kept(self, kept: Outputs, T: float) -> float:
        """How much of the probability at T is in the logits that are kept, in the mean of all rows."""
        assert kept.rest is not None, "they were cut"
        return float(kept.rest.share_kept(kept.logits, self.num_classes, T).mean())


def cut_of(train: Train, num_classes: int) -> Cut | None:
    """What the spec asks to keep of a teacher of so many classes; None for all."""
    return Cut(train.top_k, num_classes) if train.top_k and train.top_k < num_classes else None

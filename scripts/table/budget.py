"""What every loss of the table gets alike: rows, epochs, seeds, and the teacher that they all learn from."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from scripts import fashion
from worker.engine.version import ENGINE_VERSION


@dataclass(frozen=True)
class Budget:
    """One budget. A tenth of the training rows is the validation split."""

    rows: int
    test_rows: int
    epochs: int
    batch_size: int
    teacher_rows: int
    teacher_epochs: int
    seeds: tuple[int, ...]
    #: Losses of each family, from the top of the menu; None for all.
    per_family: int | None = None

    @property
    def fingerprint(self) -> str:
        """Names what a result depends on beside its loss and its seed: other seeds or losses may be added later."""
        alike = {name: value for name, value in asdict(self).items() if name not in {"seeds", "per_family"}}
        alike |= {"teacher": fashion.TEACHER, "student": fashion.STUDENT, "engine": ENGINE_VERSION}
        return hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()[:12]

    def train(self, seed: int, *, control: bool) -> dict[str, Any]:
        """`train` of a job. Without augmentation the engine asks the teacher once for each row and not every epoch."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "augment": "none",
            "select": "last",
            "seed": seed,
            "control": control,
        }


FULL = Budget(
    rows=6_000, test_rows=5_000, epochs=6, batch_size=64, teacher_rows=12_000, teacher_epochs=6, seeds=(0, 1, 2)
)
#: A look of about three minutes.
SMALL = Budget(
    rows=1_500,
    test_rows=2_000,
    epochs=3,
    batch_size=64,
    teacher_rows=3_000,
    teacher_epochs=3,
    seeds=(0,),
    per_family=1,
)

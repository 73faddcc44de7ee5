"""How many rows each split has, for the report and the record alike."""

import numpy as np
from numpy.typing import NDArray

from models.canonical import SPLITS
from worker.readers.base.case import Case


def count_splits(split: NDArray[np.uint8], case: Case) -> dict[str, int]:
    """{"train": ..., "val": ..., "test": ...}, noted among the facts too."""
    counts = {name: int((split == place).sum()) for place, name in enumerate(SPLITS)}
    case.facts["counts"] = counts
    return counts

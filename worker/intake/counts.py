"""How many rows each split has, and how many of them have a label, for the report and the record alike."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.canonical import SPLITS
from worker.readers.base.case import Case

#: The first rows of the canonical file are named in the report, so that row numbers can be compared.
_NUM_NAMED = 5


def count_splits(split: NDArray[np.uint8], case: Case) -> dict[str, int]:
    """{"train": ..., "val": ..., "test": ...}, noted among the facts too."""
    counts = {name: int((split == place).sum()) for place, name in enumerate(SPLITS)}
    case.facts["counts"] = counts
    return counts


def count_labelled(split: NDArray[np.uint8], has_label: NDArray[np.bool_], case: Case) -> dict[str, int]:
    """Of each split that has rows without a label, how many have one; split, has_label (N,). Told in the report."""
    if case.spec.labels == "required":
        return {}
    labelled = {name: int(has_label[split == place].sum()) for place, name in enumerate(SPLITS)}
    case.facts["labelled"] = labelled
    shares = ", ".join(
        f"{num} of {int((split == place).sum())} {name}" for place, (name, num) in enumerate(labelled.items())
    )
    case.passed("unlabelled", f"{int((~has_label).sum())} of {len(split)} rows have no label; labelled are {shares}.")
    return {name: num for place, (name, num) in enumerate(labelled.items()) if num < (split == place).sum()}


def name_first_rows(rows: NDArray[np.int64], case: Case, name_of: Callable[[int], str]) -> None:
    """Notes what the user knows the first rows of the canonical file by; rows (N,): their numbers in the upload."""
    case.facts["first_rows"] = [name_of(int(row)) for row in rows[:_NUM_NAMED]]

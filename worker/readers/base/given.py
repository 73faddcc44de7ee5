"""What a reader of given outputs hands over: what a teacher said of some rows of a data set, in any order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base.case import Case


@dataclass(frozen=True, slots=True)
class Given:
    """M rows of C outputs."""

    num_outputs: int
    #: (M,) The rows of the data set that they are of, as the upload says it; its own numbers 0 to M - 1 where it is
    #: silent.
    rows: NDArray[np.int64]
    #: float64 (n, C) some rows at a time, over all rows, again and again; NaN where nothing is given.
    blocks: Callable[[], Iterator[NDArray[np.float64]]]
    row_name: Callable[[int], str]


def row_numbers(values: NDArray[Any], name: str, case: Case) -> NDArray[np.int64]:
    """Row numbers (M,) out of an array or a column of that name.

    Raises: Rejected where they are no whole numbers from 0, or one of them comes twice.
    """
    if values.dtype.kind not in "iuf":
        raise Rejected(f"{name} has dtype {values.dtype}; row numbers are whole numbers from 0.", code="rows")
    limit = case.limits.max_rows
    fits = (values >= 0) & (values < limit)  # NaN does not
    if not fits.all():
        raise Rejected(
            f"{name} holds {values[~fits][0]}; row numbers of a data set run from 0 to at most {limit - 1}.",
            code="rows",
        )
    rows = values.astype(np.int64)
    if np.any(rows != values):
        raise Rejected(f"{name} holds {values[rows != values][0]}; row numbers are whole.", code="rows")
    distinct, counts = np.unique(rows, return_counts=True)
    if len(distinct) < len(rows):
        twice = distinct[counts > 1]
        raise Rejected(
            f"{name} names row {twice[0]} more than once, and {len(twice) - 1} others; give each row one line of "
            "outputs, the mean of several for instance.",
            code="rows",
        )
    return rows

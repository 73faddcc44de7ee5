"""What a reader of tables hands over: columns that can be gone through again and again, some rows at a time."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base.case import Case

#: How many repeated names are told of.
_TOLD = 100
#: pyarrow has no types that mypy could read; batches are pyarrow.RecordBatch.
RecordBatch = Any


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in the order that they will have in the canonical file."""

    columns: tuple[str, ...]
    #: (N,) with official splits, splits.UNKNOWN where the upload says nothing.
    split: NDArray[np.uint8]
    #: Record batches of the named columns, in that order, over all rows.
    batches: Callable[[Sequence[str]], Iterator[RecordBatch]]
    row_name: Callable[[int], str]
    #: The column to predict where the user names none.
    default_target: str
    #: A column without a name that a program added to number the rows: no feature unless the user speaks of it.
    index: str | None = None


def unique_names(raw: Sequence[str], case: Case) -> tuple[str, ...]:
    """Column names without blanks around them, none empty, none twice, none longer than a spec could say."""
    # By name; a dict keeps their order. A hostile table has thousands of one name, so nothing is looked for in a list.
    names: dict[str, None] = {}
    taken = {name.strip() for name in raw}
    next_number: Counter[str] = Counter()
    for place, text in enumerate(raw):
        name = " ".join(text.replace("\x00", " ").split())[:200] or f"c{place}"
        if name in names:
            first, name = name, _numbered(name, next_number, lambda other: other in taken or other in names)
            if sum(next_number.values()) <= _TOLD:
                case.warned("columns", f"Two columns are called {first!r}; the second is read as {name}.")
        names[name] = None
    return tuple(names)


def _numbered(name: str, next_number: Counter[str], is_taken: Callable[[str], bool]) -> str:
    """`name.1`, or the next such name that is free."""
    while True:
        next_number[name] += 1
        found = f"{name}.{next_number[name]}"
        if not is_taken(found):
            return found


def check_table_size(num_columns: int, num_rows: int, case: Case) -> None:
    """Raises: Rejected beyond the limits on rows and columns."""
    for num, limit, what in (
        (num_columns, case.limits.max_columns, "columns"),
        (num_rows, case.limits.max_rows, "rows"),
    ):
        if num > limit:
            raise Rejected(
                f"The table has {num} {what}; the limit is {limit}. Hand in a part of them.", code="too_large"
            )

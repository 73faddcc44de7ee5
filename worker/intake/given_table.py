"""A table of numbers read as given outputs: a column an output, and one called `row` for the rows that they are of."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from worker.intake.cells import Array, are_numbers, as_numbers, as_text, is_text, read_numbers
from worker.readers.base.case import Case
from worker.readers.base.given import Given, row_numbers
from worker.readers.base.table import Table

_ROW_COLUMNS = ("row", "rows")


def given_of(table: Table, case: Case) -> Given:
    """Raises: Rejected where a column is no output, or where lines were lost and nothing else numbers the rows."""
    row_column = next((name for name in table.columns if name.lower() in _ROW_COLUMNS), None)
    names = _output_columns(table, row_column, case)
    if row_column is not None:
        blocks = list(_blocks(table, [row_column], case))
        rows = row_numbers(np.concatenate([np.zeros((0, 1)), *blocks])[:, 0], f"Column {row_column!r}", case)
    else:
        rows = np.arange(len(table.split), dtype=np.int64)
        if case.bad_rows.count:
            raise Rejected(
                f"{case.bad_rows.count} lines cannot be read ({case.bad_rows.commonest()}), so that the place of a "
                "line no longer tells its row. Repair them, or add a column `row` with the numbers.",
                code="rows",
            )
    how = f"by column {row_column!r}" if row_column is not None else "by their place, from 0"
    case.passed("columns", f"{len(names)} columns are outputs; rows are numbered {how}.")
    case.facts["columns"] = names[:1000]
    return Given(len(names), rows, lambda: _blocks(table, names, case), table.row_name)


def _output_columns(table: Table, row_column: str | None, case: Case) -> list[str]:
    ignore = case.spec.table.ignore
    for place, name in enumerate(ignore):
        if name not in table.columns:
            raise Rejected.at(f"/table/ignore/{place}", f"There is no column {name!r}.", code="columns")
    aside = {*ignore, row_column}
    if table.index is not None and table.index not in aside:
        aside.add(table.index)
        case.warned(
            "index_column",
            f"Column {table.index!r} has no name of its own, as a program's row numbers have; it is left out. Call it "
            "`row` if it numbers the rows of the data set.",
        )
    names = [name for name in table.columns if name not in aside]
    if not names:
        raise Rejected("The table has no column of outputs beside the row numbers.", code="columns")
    return names


def _blocks(table: Table, names: Sequence[str], case: Case) -> Iterator[NDArray[np.float64]]:
    """(n, len(names)) a batch; NaN where a cell is missing."""
    for batch in table.batches(names):
        columns = [_numbers(array, name, case) for array, name in zip(batch.columns, names, strict=True)]
        yield np.stack(columns, axis=1)


def _numbers(array: Array, name: str, case: Case) -> NDArray[np.float64]:
    if not is_text(array):
        return as_numbers(array)
    text = as_text(array, case.spec.table.missing, name, case.limits.max_cell_bytes)
    strays = text.drop_null()
    strays = strays.filter(~are_numbers(strays))
    if len(strays):
        raise Rejected.at(
            "/table/ignore",
            f"Column {name!r} holds text such as {strays[0].as_py()[:60]!r}; outputs are numbers. Name the column in "
            "table.ignore, or add the word to table.missing if it means that nothing is known.",
            code="columns",
        )
    return read_numbers(text)

"""How a text file spells a table: its delimiter, whether it has a header, blanks after delimiters."""

import csv
import re
from collections import Counter
from dataclasses import dataclass

from core.errors import Rejected
from models.spec.data import TableOptions
from worker.readers.base.text import Text, first_lines

#: In order of preference where two fit equally well.
_DELIMITERS = ("\t", ";", "|", ",")
_SAMPLE_BYTES = 256 * 2**10
_SAMPLE_LINES = 200
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"

Row = list[str]


@dataclass(frozen=True, slots=True)
class Dialect:
    """first: the cells of the first line. num_columns: how many cells most lines have."""

    delimiter: str
    has_header: bool
    first: Row
    num_columns: int


def find_dialect(text: Text, options: TableOptions) -> Dialect:
    """Looks at the first lines; what the user said is taken as said.

    Raises: Rejected where no delimiter makes columns.
    """
    sample = first_lines(text, _SAMPLE_BYTES)
    delimiter = options.delimiter or _find_delimiter(sample)
    rows = _rows(sample, delimiter or ",")
    if not rows:
        raise Rejected(
            f"{text.name} holds no lines. Hand in a table with a target and at least one more column.", code="empty"
        )
    num_columns = _commonest_width(rows)[0]
    if delimiter is None or num_columns < 2:
        raise Rejected.at(
            "/table/delimiter",
            f"{text.name} has a single column by {delimiter or 'any common delimiter'!r}; a table needs features and a "
            "target. Set table.delimiter to the character between cells.",
            code="delimiter",
        )
    return Dialect(delimiter, _has_header(rows, options), rows[0], num_columns)


def _find_delimiter(sample: str) -> str | None:
    """The one by which the largest share of lines has the same number of cells, above one; then the most cells."""
    best: tuple[tuple[float, int], str] | None = None
    for delimiter in _DELIMITERS:
        rows = _rows(sample, delimiter)
        width, num = _commonest_width(rows)
        score = (num / max(1, len(rows)), width)
        if width > 1 and (best is None or score > best[0]):
            best = (score, delimiter)
    return best[1] if best else None


def _rows(sample: str, delimiter: str) -> list[Row]:
    try:
        lines = sample.splitlines(keepends=True)[:_SAMPLE_LINES]
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise Rejected(f"The table's first lines cannot be read: {error}.", code="csv") from error
    return [[cell.strip() for cell in row] for row in rows if row]


def _commonest_width(rows: list[Row]) -> tuple[int, int]:
    return Counter(len(row) for row in rows).most_common(1)[0] if rows else (0, 0)


def _has_header(rows: list[Row], options: TableOptions) -> bool:
    """A header names the columns: the user speaks of one of its cells, or none of its cells is a number and one of them
    stands above numbers, or above a column in which it does not come again.
    """
    if options.header != "auto":
        return options.header == "yes"
    first, rest = rows[0], rows[1:]
    spoken = {options.target, *options.ignore, *options.categorical}
    if spoken & set(first):
        return True
    if any(re.fullmatch(NUMBER, cell) for cell in first):
        return False
    if not rest:
        return True
    columns = [[row[place] for row in rest if place < len(row)] for place in range(len(first))]
    above_numbers = any(
        cells and sum(bool(re.fullmatch(NUMBER, cell)) for cell in cells) > len(cells) / 2 for cells in columns
    )
    is_repeated = any(cell and cell in cells for cell, cells in zip(first, columns, strict=True))
    return above_numbers or (not is_repeated and len(set(first)) == len(first))

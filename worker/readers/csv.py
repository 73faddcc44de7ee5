"""CSV and its kin (TSV, semicolons ...), gzipped or not, one file or one a split. Every cell stays text here.

A file is parsed once and kept as Arrow record batches on the disk, so that its columns can be gone through again in
bounded memory.
"""

import bisect
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from core.errors import Rejected
from worker.readers.base import splits
from worker.readers.base.case import Case
from worker.readers.base.content import Content
from worker.readers.base.dialect import Dialect, find_dialect
from worker.readers.base.files import extract
from worker.readers.base.kinds import Kind
from worker.readers.base.table import RecordBatch, Table, check_table_size, unique_names
from worker.readers.base.table_files import TableFile, choose
from worker.readers.base.text import Text, as_utf8, check_no_nul

#: What the files of the format are, by content.
KIND: Kind = "text"
#: Text that comes along with tables and is none.
_OTHER_SUFFIXES = frozenset({".md", ".rst", ".names", ".json", ".yaml", ".yml", ".html", ".xml", ".py", ".r", ".pdf"})
#: What pandas and R leave where the name of a column of row numbers would stand.
_INDEX_NAMES = ("", "Unnamed: 0")
_BLOCK_BYTES = 4 * 2**20


@dataclass(slots=True)
class Part:
    """One parsed file. skipped: numbers of the lines with a wrong number of cells, the first line being 1."""

    text: Text
    split: int
    dialect: Dialect
    columns: tuple[str, ...] = ()
    skipped: list[int] = field(default_factory=list)
    num_rows: int = 0
    arrow: Path = Path()

    def line_of(self, row: int) -> int:
        """The line of a row, blank lines and line breaks inside cells not counted."""
        line = row + 1 + self.dialect.has_header
        for skipped in self.skipped:
            line += skipped <= line
        return line


def read_table(content: Content, case: Case) -> Table:
    """Raises: Rejected where there is no table, or its files do not have the same columns."""
    is_alone = len(content.files.entries) == 1
    texts = content.of_kind(KIND, case, but=frozenset() if is_alone else _OTHER_SUFFIXES)
    if not texts:
        raise Rejected("The archive holds no table.", code="layout")
    parts = [_open(file, content, case) for file in choose(texts, case)]
    names = _column_names(parts, case)
    for part in parts:
        _parse(part, case)
    check_table_size(len(names), sum(part.num_rows for part in parts), case)
    case.facts["source"] = [_described(part) for part in parts]
    starts = np.cumsum([0, *(part.num_rows for part in parts)]).tolist()
    return Table(
        columns=names,
        split=np.concatenate([splits.constant(part.split, part.num_rows) for part in parts]),
        batches=lambda columns: _batches(parts, columns),
        row_name=lambda row: _row_name(parts, starts, row),
        default_target=names[-1],
        index=names[0] if parts[0].dialect.has_header and parts[0].dialect.first[0] in _INDEX_NAMES else None,
    )


def _open(file: TableFile, content: Content, case: Case) -> Part:
    text = as_utf8(extract(content.files, file.entry, case), file.entry.name, case)
    check_no_nul(text)
    return Part(text, file.split, find_dialect(text, case.spec.table))


def _column_names(parts: list[Part], case: Case) -> tuple[str, ...]:
    """By the header of the first file. A later file without a header has its columns in the same order."""
    first = parts[0].dialect
    num_columns = len(first.first) if first.has_header else first.num_columns
    check_table_size(num_columns, 0, case)
    names = unique_names(first.first if first.has_header else [""] * num_columns, case)
    parts[0].columns = names
    for part in parts[1:]:
        own, shared = part.dialect.first, set(part.dialect.first) & set(first.first)
        part.dialect = replace(part.dialect, has_header=first.has_header and len(shared) > len(own) / 2)
        part.columns = unique_names(own, case) if part.dialect.has_header and own != first.first else names
        missing = sorted(set(names) - set(part.columns))
        if missing or (not part.dialect.has_header and part.dialect.num_columns != num_columns):
            what = f"no column {', '.join(missing)}" if missing else f"{part.dialect.num_columns} columns"
            raise Rejected(
                f"{part.text.name} has {what}; {parts[0].text.name} has {', '.join(names[:50])}. Every split needs the "
                "same columns, the target too; leave a file without labels out.",
                code="columns",
            )
    return names


def _parse(part: Part, case: Case) -> None:
    """Writes the rows as Arrow batches. Lines with another number of cells become bad rows."""

    def note_bad(row: "arrow_csv.InvalidRow") -> str:
        part.skipped.append(row.number)
        case.bad_rows.add(
            f"{part.text.name}, line {row.number}",
            f"{row.actual_columns} cells where {row.expected_columns} are wanted",
        )
        return "skip"

    path, has_quotes = _tidied(part, case)
    part.arrow = case.new_scratch(".arrow")
    schema = pa.schema([(name, pa.string()) for name in part.columns])
    try:
        reader = arrow_csv.open_csv(
            path,
            arrow_csv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                column_names=list(part.columns),
                skip_rows_after_names=int(part.dialect.has_header),
            ),
            arrow_csv.ParseOptions(
                delimiter=part.dialect.delimiter, newlines_in_values=has_quotes, invalid_row_handler=note_bad
            ),
            arrow_csv.ConvertOptions(column_types=schema, strings_can_be_null=False),
        )
        with pa.OSFile(str(part.arrow), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in reader:
                part.num_rows += batch.num_rows
                check_table_size(len(part.columns), part.num_rows, case)
                writer.write_batch(batch)
    except pa.ArrowInvalid as error:
        raise Rejected(
            f"{part.text.name} cannot be read as a table: {error}. Often a quote is opened and never closed.",
            code="csv",
        ) from error


def _tidied(part: Part, case: Case) -> tuple[Path, bool]:
    """(the file to parse, whether it has quotes).

    Arrow takes a quote for one only right after the delimiter. Where a blank stands between, the file is written anew
    by Python's reader, which is slower and skips the blank.
    """
    delimiter = part.dialect.delimiter.encode()
    has_quotes, has_late_quotes, tail = False, False, b""
    with part.text.path.open("rb") as file:
        while chunk := tail + file.read(_BLOCK_BYTES):
            has_quotes = has_quotes or b'"' in chunk
            has_late_quotes = has_late_quotes or delimiter + b' "' in chunk
            if len(chunk) == len(tail):
                break
            tail = chunk[-2:]
    if not has_late_quotes:
        return part.text.path, has_quotes
    target = case.new_scratch()
    with (
        part.text.path.open(encoding="utf-8", newline="") as source,
        target.open("w", encoding="utf-8", newline="") as out,
    ):
        try:
            rows = csv.reader(source, delimiter=part.dialect.delimiter, skipinitialspace=True)
            csv.writer(out, delimiter=part.dialect.delimiter).writerows(rows)
        except csv.Error as error:
            raise Rejected(f"{part.text.name} cannot be read as a table: {error}.", code="csv") from error
    return target, True


def _batches(parts: Sequence[Part], columns: Sequence[str]) -> Iterator[RecordBatch]:
    for part in parts:
        with pa.OSFile(str(part.arrow)) as file:
            options = pa.ipc.IpcReadOptions(included_fields=[part.columns.index(name) for name in columns])
            reader = pa.ipc.open_file(file, options=options)
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place).select(list(columns))


def _row_name(parts: Sequence[Part], starts: Sequence[int], row: int) -> str:
    place = bisect.bisect_right(starts, row) - 1
    return f"{parts[place].text.name}, line {parts[place].line_of(row - starts[place])}"


def _described(part: Part) -> dict[str, object]:
    return {
        "name": part.text.name,
        "rows": part.num_rows,
        "encoding": part.text.encoding,
        "delimiter": part.dialect.delimiter,
        "header": part.dialect.has_header,
    }

"""Parquet: one file, or one a split in an archive. Columns of flat types are read; nested and binary ones are not."""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from core.errors import Rejected
from worker.readers.base import splits
from worker.readers.base.case import Case
from worker.readers.base.content import Content
from worker.readers.base.files import extract
from worker.readers.base.kinds import Kind
from worker.readers.base.table import RecordBatch, Table, check_table_size
from worker.readers.base.table_files import TableFile, choose

#: What the files of the format are, by content.
KIND: Kind = "parquet"
#: A row group says little of how much its columns unpack to, so few rows are read at a time.
_BATCH_ROWS = 8192
#: What pandas calls a column of row numbers that has no name.
_INDEX_NAME = "__index_level_0__"
#: What Arrow raises for a file that is not as it should be. Its MemoryError is none of these.
_DAMAGE = (
    ValueError,  # ArrowInvalid, UnicodeDecodeError
    OSError,
    pa.ArrowIndexError,
    pa.ArrowKeyError,
    pa.ArrowNotImplementedError,
    pa.ArrowSerializationError,
    pa.ArrowTypeError,
)
_READ = (
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_decimal,
    pa.types.is_floating,
    pa.types.is_integer,
    pa.types.is_large_string,
    pa.types.is_null,
    pa.types.is_string,
    pa.types.is_string_view,
    pa.types.is_timestamp,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One file, its footer read."""

    path: Path
    name: str
    split: int
    num_rows: int
    columns: tuple[str, ...]


def read_table(content: Content, case: Case) -> Table:
    """Raises: Rejected where a file is damaged, or the files do not have the same columns."""
    parts = [_open(file, content, case) for file in choose(content.of_kind(KIND, case), case)]
    columns = parts[0].columns
    for part in parts[1:]:
        if missing := sorted(set(columns) - set(part.columns)):
            raise Rejected(
                f"{part.name} has no column {', '.join(missing[:50])}, which {parts[0].name} has. Every split needs "
                "the same columns, the target too; leave a file without labels out.",
                code="columns",
            )
    if not columns:
        raise Rejected(
            "The table has no columns of a flat type: numbers, text, dates. Take nested and binary ones apart before "
            "you write it.",
            code="columns",
        )
    check_table_size(len(columns), sum(part.num_rows for part in parts), case)
    case.facts["source"] = [{"name": part.name, "rows": part.num_rows} for part in parts]
    starts = np.cumsum([0, *(part.num_rows for part in parts)]).tolist()
    return Table(
        columns=columns,
        split=np.concatenate([splits.constant(part.split, part.num_rows) for part in parts]),
        batches=lambda names: _batches(parts, names),
        row_name=lambda row: _row_name(parts, starts, row),
        default_target=columns[-1],
        index=_INDEX_NAME if _INDEX_NAME in columns else None,
    )


def _open(file: TableFile, content: Content, case: Case) -> Part:
    path = extract(content.files, file.entry, case)
    try:
        with parquet.ParquetFile(path) as opened:
            schema, num_rows = opened.schema_arrow, opened.metadata.num_rows
    except _DAMAGE as error:
        raise _damaged(file.entry.name, error) from error
    check_table_size(len(schema), num_rows, case)
    flat = [column.name for column in schema if _is_flat(column.type)]
    for column in schema:
        if not _is_flat(column.type):
            case.warned("columns", f"Column {column.name!r} of {file.entry.name} is left out: type {column.type}.")
    if len(set(schema.names)) < len(schema.names):
        raise Rejected(f"{file.entry.name} has two columns of one name.", code="columns")
    return Part(path, file.entry.name, file.split, num_rows, tuple(flat))


def _is_flat(kind: "pa.DataType") -> bool:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_read(values) for is_read in _READ)


def _batches(parts: Sequence[Part], columns: Sequence[str]) -> Iterator[RecordBatch]:
    for part in parts:
        num_rows = 0
        try:
            with parquet.ParquetFile(part.path) as opened:
                for batch in opened.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
                    batch.validate(full=True)  # text that is no UTF-8, indices that point nowhere
                    num_rows += batch.num_rows
                    yield batch.select(list(columns))
        except _DAMAGE as error:
            raise _damaged(part.name, error) from error
        if num_rows != part.num_rows:
            raise _damaged(part.name, f"{part.num_rows} rows are claimed, {num_rows} are there")


def _damaged(name: str, error: Exception | str) -> Rejected:
    return Rejected(f"{name} is cut short or damaged ({error}). Upload it again.", code="damaged")


def _row_name(parts: Sequence[Part], starts: Sequence[int], row: int) -> str:
    place = bisect.bisect_right(starts, row) - 1
    return f"{parts[place].name}, row {row - starts[place]}"

"""The column to predict, and with it which rows count: one pass over the target and the column that names the split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.errors import Rejected
from worker.intake.cells import are_numbers, as_numbers, as_text, is_text, read_numbers
from worker.readers.base import splits
from worker.readers.base.case import Case
from worker.readers.base.labels import MISSING, Labels
from worker.readers.base.table import Table


@dataclass(frozen=True, slots=True)
class Values:
    """A regression's target (N,), NaN where it cannot be read; texts: examples of cells that are no numbers."""

    values: NDArray[np.float64]
    is_known: NDArray[np.bool_]
    texts: Sequence[str]


def read_labels(table: Table, name: str, case: Case) -> Labels:
    """The column's cells as labels (N,); rows without one are MISSING."""
    chunks = [
        as_text(batch.column(0), case.spec.table.missing, name, case.limits.max_cell_bytes)
        for batch in table.batches([name])
    ]
    encoded = pa.chunked_array(chunks, pa.large_string()).combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, MISSING).to_numpy(zero_copy_only=False).astype(np.int64)
    return Labels(tuple(encoded.dictionary.to_pylist()), codes)


def read_values(table: Table, name: str, case: Case) -> Values:
    """The column's cells as numbers (N,)."""
    values, known, texts = [], [], list[str]()
    for batch in table.batches([name]):
        array = batch.column(0)
        if not is_text(array):
            values.append(as_numbers(array))
            known.append(~np.asarray(pc.is_null(array, nan_is_null=True)))
            continue
        text = as_text(array, case.spec.table.missing, name, case.limits.max_cell_bytes)
        is_number = np.zeros(len(text), np.bool_)
        valid = np.asarray(text.is_valid())
        is_number[valid] = are_numbers(text.drop_null())
        texts += text.filter(pa.array(valid & ~is_number)).slice(0, 3).to_pylist()[: 3 - len(texts)]
        values.append(read_numbers(pc.if_else(pa.array(is_number), text, None)))
        known.append(valid)
    return Values(np.concatenate([np.zeros(0), *values]), np.concatenate([np.zeros(0, np.bool_), *known]), texts)


def official_split(table: Table, name: str | None, case: Case) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(split (N,), which rows have one): by the column that the user names, else by the files.

    Rows whose cell is no split are bad rows.
    """
    if name is None:
        return table.split, np.ones(len(table.split), np.bool_)
    labels = read_labels(table, name, case)
    found = [splits.of_word(word) for word in labels.names]
    codes = np.array([*(splits.UNKNOWN if split is None else split for split in found), splits.UNKNOWN], np.uint8)
    split = codes[labels.codes]
    note_bad(table, split == splits.UNKNOWN, f"column {name!r} is none of train, val and test", case)
    return split, split != splits.UNKNOWN


def note_bad(table: Table, rows: NDArray[np.bool_], reason: str, case: Case) -> None:
    """Counts the rows of the mask (N,) as bad."""
    for row in np.flatnonzero(rows):
        case.bad_rows.add(table.row_name(int(row)), reason)


def without_dots(labels: Labels, split: NDArray[np.uint8], name: str, case: Case) -> Labels:
    """Test labels of UCI's Adult end in a dot, those of train do not: dots go where that makes the sets agree."""
    in_train = (split == splits.TRAIN) | (split == splits.UNKNOWN)
    known, others = labels.names_of(in_train), labels.names_of(~in_train)
    strange = others - known
    if not strange or not {label.removesuffix(".") for label in strange} <= known:
        return labels
    case.warned(
        "label_dots",
        f"Labels of val or test in {name!r} end in a dot that those of train do not have; it is taken off.",
    )
    return labels.renamed([label.removesuffix(".") if label in strange else label for label in labels.names])


def check_are_classes(labels: Labels, num_rows: int, name: str) -> None:
    """Raises: Rejected where the column looks like values or names of rows rather than classes."""
    num = len(labels.names)
    if labels.are_numbers and num > 100 and num > 0.2 * num_rows:
        raise Rejected.at(
            "/task",
            f"The target {name!r} has {num} different numbers in {num_rows} rows: values, not classes. Take the task "
            "tabular_regression, or set table.target to another column.",
            code="target",
        )
    if num > 20 and num > 0.5 * num_rows:
        raise Rejected.at(
            "/table/target",
            f"The target {name!r} has {num} different values in {num_rows} rows: nearly every row would be a class of "
            "its own. Set table.target to the column that holds the class.",
            code="target",
        )

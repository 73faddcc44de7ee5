"""Rows of cells to rows of features, as models.canonical.Column says."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.canonical import Column
from worker.intake.cells import Array, as_numbers, as_text, is_text, read_numbers
from worker.readers.base.case import Case
from worker.readers.base.table import RecordBatch

Features = NDArray[np.float32]


def encode(batch: RecordBatch, columns: Sequence[Column], case: Case) -> Features:
    """(n, D) features of a batch whose columns are those, in that order."""
    out = np.zeros((batch.num_rows, sum(column.num_features for column in columns)), np.float32)
    start = 0
    for column, array in zip(columns, batch.columns, strict=True):
        part = out[:, start : start + column.num_features]
        if column.kind == "numeric":
            _encode_numbers(array, column, part, case)
        else:
            _encode_categories(array, column, part, case)
        start += column.num_features
    return out


def _encode_numbers(array: Array, column: Column, out: Features, case: Case) -> None:
    values = read_numbers(_text(array, column, case)) if is_text(array) else as_numbers(array)
    is_missing = np.isnan(values)
    scaled = (values - column.mean) / column.std
    # A value of val or test can lie so far out that float32 has no number for it.
    limit = np.finfo(np.float32).max
    out[:, 0] = np.where(is_missing, 0.0, scaled.clip(-limit, limit))
    if column.indicator:
        out[:, 1] = is_missing


def _encode_categories(array: Array, column: Column, out: Features, case: Case) -> None:
    places = pc.index_in(_text(array, column, case), value_set=pa.array(column.categories, pa.large_string()))
    codes = pc.fill_null(places, -1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(codes >= 0)
    out[rows, codes[rows]] = 1.0


def _text(array: Array, column: Column, case: Case) -> Array:
    return as_text(array, case.spec.table.missing, column.name, case.limits.max_cell_bytes)

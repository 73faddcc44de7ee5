"""Cells of one column, a few thousand at a time, as text or as numbers; what is missing is null or NaN."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.errors import Rejected
from worker.readers.base.dialect import NUMBER

#: pyarrow has no types that mypy could read: pyarrow.Array throughout.
Array = Any

_WHOLE_NUMBER = rf"^(?:{NUMBER}|[+-]?(?i:inf|infinity|nan))$"


def is_text(array: Array) -> bool:
    """Whether a column's cells are text, so that numbers in it have to be read first."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def as_text(array: Array, missing: Sequence[str], name: str, max_bytes: int) -> Array:
    """Strings without blanks around them, null where one of the `missing` words stands.

    Raises: Rejected for a cell of more than `max_bytes`.
    """
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.large_string()))
    longest = pc.max(pc.binary_length(text)).as_py() or 0
    if longest > max_bytes:
        raise Rejected(
            f"Column {name!r} has a cell of {longest} bytes; the limit is {max_bytes}. Leave the column out, or see "
            "whether a quote is never closed.",
            code="too_large",
        )
    return pc.if_else(pc.is_in(text, value_set=pa.array(missing, pa.large_string())), None, text)


def are_numbers(text: Array) -> NDArray[np.bool_]:
    """Which of some strings, none of them null, read as decimal numbers. `inf` and `nan` count as ones."""
    return np.asarray(pc.match_substring_regex(text, _WHOLE_NUMBER))


def read_numbers(text: Array) -> NDArray[np.float64]:
    """float64 of strings that read as numbers; NaN where null, infinite or not a number."""
    return _finite(pc.cast(text, pa.float64()))


def as_numbers(array: Array) -> NDArray[np.float64]:
    """float64 of a column that is no text: numbers, booleans as 0 and 1, times as seconds since 1970."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        array = pc.cast(pc.cast(array, pa.timestamp("s"), safe=False), pa.int64())
    return _finite(pc.cast(array, pa.float64(), safe=False))


def _finite(array: Array) -> NDArray[np.float64]:
    values = np.array(array.to_numpy(zero_copy_only=False), np.float64)
    values[~np.isfinite(values)] = np.nan
    return values

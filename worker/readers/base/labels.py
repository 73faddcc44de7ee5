"""Labels of rows as a reader found them: distinct names and a number a row. Which class is which is settled later."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected

#: The row has no label.
MISSING = -1
#: What to do about rows without a label where each has to have one.
KEPT_BY = "labels `partial` keeps such rows"
_INTEGER = re.compile(r"[+-]?\d{1,15}(\.0*)?")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Labels:
    """codes (N,) int64: the place of each row's label in `names`, or MISSING."""

    names: tuple[str, ...]
    codes: NDArray[np.int64]

    @property
    def are_numbers(self) -> bool:
        """Whether every name reads as a number."""
        return all(_NUMBER.fullmatch(name) for name in self.names)

    def without(self, name: str) -> "Labels":
        """The same rows, those of that name without a label."""
        names = tuple(other for other in self.names if other != name)
        places = {other: place for place, other in enumerate(names)}
        moves = np.array([*(places.get(other, MISSING) for other in self.names), MISSING], np.int64)
        return Labels(names, moves[self.codes])

    def among(self, rows: NDArray[np.bool_]) -> "Labels":
        """Labels of more rows (M,): these where the mask is true, none elsewhere."""
        codes = np.full(len(rows), MISSING, np.int64)
        codes[rows] = self.codes
        return Labels(self.names, codes)

    def renamed(self, names: Sequence[str]) -> "Labels":
        """The same rows under other names, one for each old name; names that became equal become one."""
        distinct = tuple(dict.fromkeys(names))
        places = {name: place for place, name in enumerate(distinct)}
        moves = np.array([*(places[name] for name in names), MISSING], np.int64)
        return Labels(distinct, moves[self.codes])

    def names_of(self, rows: NDArray[np.bool_]) -> set[str]:
        """The names that occur among some of the rows."""
        codes = np.unique(self.codes[rows])
        return {self.names[code] for code in codes if code != MISSING}


def none(num: int) -> Labels:
    """Rows without labels."""
    return Labels((), np.full(num, MISSING, np.int64))


def of_strings(values: Iterable[str]) -> Labels:
    """Labels of a value a row; "" is missing."""
    names: dict[str, int] = {"": MISSING}
    codes = np.fromiter((names.setdefault(value, len(names) - 1) for value in values), np.int64)
    return Labels(tuple(names)[1:], codes)


def of_array(array: NDArray[np.generic], name: str) -> Labels:
    """Labels of an array: integers, whole-numbered floats, strings or booleans (N,) or (N, 1), or one-hot rows (N, C).

    NaN is a missing label. Raises: Rejected where the array is none of these, named by its key.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        return _of_one_hot(array, name)
    if array.ndim != 1:
        raise Rejected(f"{name} has shape {array.shape}; labels are (N,), (N, 1) or one-hot (N, C).", code="labels")
    if array.dtype.kind in "US":
        values = array.tolist()
        texts = values if array.dtype.kind == "U" else (value.decode("utf-8", "replace") for value in values)
        return of_strings(text.strip() for text in texts)
    known = np.isfinite(array.astype(np.float64)) if array.dtype.kind == "f" else np.ones(len(array), np.bool_)
    whole = array[known].astype(np.int64)
    if np.any(whole != array[known]):
        raise Rejected(
            f"{name} holds fractions such as {array[known][whole != array[known]][0]}; a classification wants whole "
            "numbers or names. For values to be predicted, take the task tabular_regression.",
            code="labels",
        )
    values, places = np.unique(whole, return_inverse=True)
    codes = np.full(len(array), MISSING, np.int64)
    codes[known] = places
    return Labels(tuple(str(value) for value in values), codes)


def _of_one_hot(array: NDArray[np.generic], name: str) -> Labels:
    if array.dtype.kind in "US" or not (np.all((array == 0) | (array == 1)) and np.all((array != 0).sum(axis=1) == 1)):
        raise Rejected(
            f"{name} has shape {array.shape} but is not one-hot: exactly one 1 in each row. Give class numbers (N,).",
            code="labels",
        )
    return Labels(tuple(str(value) for value in range(array.shape[1])), array.argmax(axis=1).astype(np.int64))


def in_order(names: Iterable[str]) -> list[str]:
    """Class order where the user gives none: numbers by value, else names by their letters."""
    names = list(names)
    if all(_NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def plain_number(name: str) -> str:
    """`1.0`, `01` and `+1` are the label `1`; anything else is itself."""
    return str(int(name.partition(".")[0])) if _INTEGER.fullmatch(name) else name

"""What each column of a table is and what the training rows say of it: one pass, then a verdict a column.

Kinds are told by all rows, figures and categories by the training rows alone.
Source of the moments: T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979, equations 2.1.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import Column
from worker.intake.cells import Array, are_numbers, as_numbers, as_text, is_text, read_numbers
from worker.readers.base.case import Case
from worker.readers.base.labels import in_order

#: A text column with more than this many values, most of them met once, says nothing of new rows.
_FEW_VALUES = 20
_UNIQUE_SHARE = 0.5
#: Text in so small a share of a column's cells is probably a word for "missing".
_STRAY_SHARE = 0.1


@dataclass(slots=True)
class Moments:
    """Count, mean and sum of squared distances of the training values, and their range."""

    num: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: NDArray[np.float64]) -> None:
        """Takes in finite values (n,)."""
        if not len(values):
            return
        with np.errstate(over="ignore", invalid="ignore"):  # a deviation that is infinite is told of later
            num, mean = len(values), float(values.mean())
            total, distance = self.num + num, mean - self.mean
            self.squares += float(np.square(values - mean).sum() + np.square(distance) * self.num * num / total)
        self.mean += distance * num / total
        self.num = total
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    @property
    def std(self) -> float:
        """The population's deviation."""
        return math.sqrt(self.squares / self.num) if self.num else 0.0


@dataclass(slots=True)
class Profile:
    """What is known of one column so far. num_text: cells that are no numbers, over all rows that count."""

    name: str
    as_categories: bool
    num_train: int = 0
    num_known: int = 0
    num_text: int = 0
    num_missing: int = 0
    example: str = ""
    moments: Moments = field(default_factory=Moments)
    #: Distinct values of the training rows; None once there are too many to be categories.
    distinct: set[str] | None = field(default_factory=set)

    def add(self, array: Array, in_train: NDArray[np.bool_], case: Case) -> None:
        """Takes in cells (n,) of rows that count; in_train (n,) says which of them train."""
        self.num_train += int(in_train.sum())
        if is_text(array) or self.as_categories:
            self._add_text(array, in_train, case)
        else:
            self._add_numbers(as_numbers(array), in_train)

    def _add_text(self, array: Array, in_train: NDArray[np.bool_], case: Case) -> None:
        text = as_text(array, case.spec.table.missing, self.name, case.limits.max_cell_bytes)
        is_known = np.asarray(text.is_valid())
        known = text.drop_null()
        self.num_known += len(known)
        if not self.as_categories:
            is_number = are_numbers(known)
            strays = known.filter(pa.array(~is_number))
            self.num_text += len(strays)
            self.example = self.example or (strays[0].as_py()[:60] if len(strays) else "")
            if not self.num_text:
                self._add_numbers(read_numbers(text), in_train)
        if self.distinct is not None:
            self.distinct |= set(pc.unique(text.filter(pa.array(is_known & in_train))).to_pylist())
            if len(self.distinct) > case.limits.max_categories:
                self.distinct = None
        if self.num_text or self.as_categories:
            self.num_missing += int((~is_known & in_train).sum())

    def _add_numbers(self, values: NDArray[np.float64], in_train: NDArray[np.bool_]) -> None:
        mine = values[in_train]
        finite = mine[~np.isnan(mine)]
        self.num_missing += len(mine) - len(finite)
        self.moments.add(finite)

    @property
    def is_numeric(self) -> bool:
        """Whether every known cell is a number, and the user did not ask for categories."""
        return not self.as_categories and self.num_text == 0

    def settle(self, case: Case) -> Column | str:
        """The column's encoding, or why it is left out."""
        return self._numeric() if self.is_numeric else self._categorical(case)

    def _numeric(self) -> Column | str:
        moments = self.moments
        if moments.num == 0:
            return "no training row has a value"
        if not math.isfinite(moments.mean) or not math.isfinite(moments.std):
            return "its values are too large to be standardised"
        if moments.low == moments.high and not self.num_missing:
            return "it has one value throughout the training rows"
        # A deviation of rounding errors alone would blow them up.
        std = moments.std if moments.low < moments.high else 1.0
        return Column(name=self.name, kind="numeric", mean=moments.mean, std=std or 1.0, indicator=self.num_missing > 0)

    def _categorical(self, case: Case) -> Column | str:
        if self.distinct is None:
            if self.as_categories:
                raise Rejected.at(
                    "/table/categorical",
                    f"Column {self.name!r}, named in table.categorical, has more than {case.limits.max_categories} "
                    "different values. Group them, or name the column in table.ignore.",
                    code="columns",
                )
            return f"it is text with more than {case.limits.max_categories} different values{self._hint()}"
        num = self.num_train - self.num_missing
        if not self.distinct:
            return "no training row has a value"
        if not self.as_categories and len(self.distinct) > max(_FEW_VALUES, _UNIQUE_SHARE * num):
            return f"it is text with {len(self.distinct)} different values in {num} training rows{self._hint()}"
        if len(self.distinct) == 1 and not self.num_missing:
            return "it has one value throughout the training rows"
        return Column(name=self.name, kind="categorical", categories=in_order(self.distinct))

    def _hint(self) -> str:
        if self.as_categories or self.num_text > _STRAY_SHARE * self.num_known:
            return f" (such as {self.example!r})"
        return (
            f"; all but {self.num_text} of {self.num_known} cells are numbers: if {self.example!r} means that nothing "
            "is known, add it to table.missing"
        )


def settle_columns(profiles: list[Profile], case: Case) -> list[Column]:
    """The columns that become features, in order; the report lists all.

    Raises: Rejected where none is left, or they make too many features.
    """
    columns, listed = [], list[dict[str, object]]()
    for profile in profiles:
        column = profile.settle(case)
        if isinstance(column, str):
            case.warned("column_left_out", f"Column {profile.name!r} is left out: {column}.")
            listed.append({"name": profile.name, "kind": "left out", "reason": column})
            continue
        columns.append(column)
        listed.append(_described(column, profile))
    case.facts["columns"] = listed
    num_features = sum(column.num_features for column in columns)
    if not columns:
        raise Rejected("No column is left to learn from; the report says why of each.", code="columns")
    if num_features > case.limits.max_features:
        widest = sorted(columns, key=lambda column: -column.num_features)[:5]
        raise Rejected.at(
            "/table/ignore",
            f"The columns make {num_features} features; the limit is {case.limits.max_features}. Most come from "
            f"{', '.join(column.name for column in widest)}: name some in table.ignore.",
            code="too_large",
        )
    case.passed("columns", f"{len(columns)} of {len(profiles)} columns give {num_features} features.")
    return columns


def _described(column: Column, profile: Profile) -> dict[str, object]:
    shared = {"name": column.name, "kind": column.kind, "features": column.num_features, "missing": profile.num_missing}
    if column.kind == "categorical":
        return {**shared, "categories": column.categories}
    figures = {"mean": column.mean, "std": column.std, "indicator": column.indicator}
    return {**shared, **figures, "min": profile.moments.low, "max": profile.moments.high}

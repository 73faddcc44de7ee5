"""The arithmetic of the table: means, spreads, and the words for a difference."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot
from statistics import mean, stdev

WORSE, NOT_SHOWN, BETTER = "worse than no teacher", "no gain shown", "better"
#: Nothing may be called better for less than this many seeds.
_LEAST_SEEDS = 2


@dataclass(frozen=True)
class Figures:
    """One finished training: of the test split, and the seconds that it took."""

    accuracy: float
    agreement: float | None
    train_s: float


@dataclass(frozen=True)
class Row:
    """A loss with all of its seeds; `fault` where any of its jobs failed."""

    loss: str
    family: str
    weight: float
    hard: float
    runs: list[Figures] = field(default_factory=list)
    fault: str | None = None

    @property
    def accuracies(self) -> list[float]:
        """One for each seed."""
        return [run.accuracy for run in self.runs]

    @property
    def agreement(self) -> float | None:
        """The mean, where it was measured."""
        known = [run.agreement for run in self.runs if run.agreement is not None]
        return mean(known) if known else None

    @property
    def train_s(self) -> float:
        """The mean."""
        return mean(run.train_s for run in self.runs)


def spread(values: Sequence[float]) -> float | None:
    """The sample deviation over seeds; None where there is but one."""
    return stdev(values) if len(values) > 1 else None


def gain(values: Sequence[float], alone: Sequence[float]) -> float:
    """The mean's distance above that of the students without a teacher."""
    return mean(values) - mean(alone)


def verdict(values: Sequence[float], alone: Sequence[float]) -> str:
    """In words: a gain counts only where it is above the deviation of a difference of two runs, sqrt(s^2 + s_alone^2).

    With one seed no deviation is known, and no gain is shown.
    """
    difference = gain(values, alone)
    if difference < 0:
        return WORSE
    if min(len(values), len(alone)) < _LEAST_SEEDS or difference <= hypot(stdev(values), stdev(alone)):
        return NOT_SHOWN
    return BETTER


def ordered(rows: Sequence[Row], families: Sequence[str]) -> list[Row]:
    """By family in the order given, then from the best down; those that failed come last in theirs."""
    return sorted(
        rows,
        key=lambda row: (
            families.index(row.family),
            row.fault is not None,
            -mean(row.accuracies) if row.runs else 0.0,
            row.loss,
        ),
    )

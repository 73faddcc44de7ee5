"""Which rows train, which validate, which test: official splits are kept, missing ones are cut from the training rows.

The cut is a pure function of the seed, the row's number and its stratum (the class; in a regression the tenth of the
target's range of ranks), so that anybody can repeat it. docs/data.md gives it step by step.

Source of the mixing function: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014, with the constants of S. Vigna's splitmix64.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import Rejected
from models.canonical import SPLITS
from models.spec.data import Split
from worker.readers.base.case import Case
from worker.readers.base.splits import TEST, TRAIN, UNKNOWN, VAL

_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MAX_BINS, _ROWS_A_BIN = 10, 10
_UNLABELLED = "rows without a label"


def settle(
    official: NDArray[np.uint8], strata: NDArray[np.int64], names: Sequence[str], case: Case
) -> NDArray[np.uint8]:
    """The final split (N,) of rows; official (N,) may hold UNKNOWN, strata (N,) index `names`.

    Raises: Rejected where no training rows are left, or too few to cut from.
    """
    split = np.where(official == UNKNOWN, TRAIN, official).astype(np.uint8)
    if not (split == TRAIN).any():
        raise Rejected("The data set has val or test rows but no training rows.", code="split")
    spec, given = case.spec.split, [place for place in (VAL, TEST) if (split == place).any()]
    shares = {place: share for place, share in ((TEST, spec.test), (VAL, spec.val)) if place not in given}
    if shares:
        small = _cut(split, strata, shares, spec.seed)
        _explain_small([names[stratum] for stratum in small], shares, split, case)
    case.facts["split"] = _facts(given, shares, spec)
    counts = ", ".join(f"{int((split == place).sum())} {name}" for place, name in enumerate(SPLITS))
    case.passed("split", f"{counts} rows. {_rule(given, shares, spec)}")
    return split


def class_strata(y: NDArray[np.int64], names: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Strata of a classification: its classes, and the rows without a label. y (N,), below 0 for those."""
    return np.where(y < 0, len(names), y), [*names, _UNLABELLED]


def value_strata(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[str]]:
    """Strata of a regression: those of `rank_strata`, and the rows whose value (N,) is NaN."""
    known = np.isfinite(values)
    ranked, names = rank_strata(values[known])
    strata = np.full(len(values), len(names), np.int64)
    strata[known] = ranked
    return strata, [*names, _UNLABELLED]


def rank_strata(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[str]]:
    """Strata of a regression: rows in order of their target, cut into ten equal parts, fewer where rows are few.

    values (N,). Returns strata (N,) and their names.
    """
    num_bins = max(1, min(_MAX_BINS, len(values) // _ROWS_A_BIN))
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * num_bins // max(1, len(values)), [f"part {place + 1} of {num_bins}" for place in range(num_bins)]


def row_keys(rows: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """The number by which rows are shuffled: mix(mix(seed) xor row)."""
    return _mix(_mix(np.array([seed], np.uint64)) ^ rows.astype(np.uint64))


def quotas(num: int, shares: Sequence[float]) -> list[int]:
    """How many of a stratum's `num` rows each cut split gets.

    The share rounded half up, at least one; nothing where not each of them and train could have one.
    """
    if num <= len(shares):
        return [0] * len(shares)
    found = [max(1, int(num * share + 0.5)) for share in shares]
    while sum(found) >= num:
        found[found.index(max(found))] -= 1
    return found


def _cut(split: NDArray[np.uint8], strata: NDArray[np.int64], shares: dict[int, float], seed: int) -> list[int]:
    """Moves training rows into the splits of `shares`, in place; returns the strata too small to give any."""
    pool = np.flatnonzero(split == TRAIN)
    order = pool[np.lexsort((row_keys(pool, seed), strata[pool]))]
    found, starts = np.unique(strata[order], return_index=True)
    small = []
    for stratum, rows in zip(found, np.split(order, starts[1:]), strict=True):
        start, wanted = 0, quotas(len(rows), list(shares.values()))
        for place, num in zip(shares, wanted, strict=True):
            split[rows[start : start + num]] = place
            start += num
        if not start:
            small.append(int(stratum))
    return small


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64; unsigned arithmetic wraps round."""
    mixed = values + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


def _explain_small(names: list[str], shares: dict[int, float], split: NDArray[np.uint8], case: Case) -> None:
    wanted = " and ".join(SPLITS[place] for place in sorted(shares))
    need = f"at least {len(shares) + 1} rows are needed to give {wanted} one each"
    if any(not (split == place).any() for place in shares):
        raise Rejected(f"No class has enough rows to cut from: {need}.", code="split")
    if names:
        shown = ", ".join(repr(name) for name in names[:20]) + (" ..." if len(names) > 20 else "")
        case.warned("split_small", f"All rows of {shown} stay in train: {need}.")


def _facts(given: Sequence[int], shares: dict[int, float], spec: Split) -> dict[str, object]:
    facts: dict[str, object] = {"rule": _rule(given, shares, spec), "seed": spec.seed if shares else None}
    for place in (VAL, TEST):
        facts[SPLITS[place]] = {"cut_from_train": shares[place]} if place in shares else "as uploaded"
    return facts


def _rule(given: Sequence[int], shares: dict[int, float], spec: Split) -> str:
    kept = " and ".join(SPLITS[place] for place in given)
    cut = " and ".join(f"{SPLITS[place]} ({shares[place]:g})" for place in sorted(shares))
    sentences = [f"As uploaded: {kept}."] if kept else []
    if cut:
        sentences.append(f"Cut from the training rows, stratified, seed {spec.seed}: {cut}.")
    return " ".join(sentences)

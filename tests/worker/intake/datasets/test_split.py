"""The cut: exact shares, the same for everybody, and told where it cannot be made."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import Rejected
from models.spec.data import DatasetSpec
from worker.intake.split import quotas, rank_strata, row_keys, settle
from worker.readers.base.case import Case
from worker.readers.base.splits import TEST, TRAIN, UNKNOWN, VAL, constant

MASK = 2**64 - 1


def case(**split: object) -> Case:
    spec = DatasetSpec.model_validate({"task": "image_classification", "split": split})
    return Case(spec, Path("nowhere"))


def mixed(value: int) -> int:
    """splitmix64 once more, on Python's own integers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def test_the_mixing_function_is_splitmix64() -> None:
    # The first output of the reference generator seeded with 0 is that of mixing 0.
    assert mixed(0) == 0xE220A8397B1DCDAF
    rows = np.array([0, 1, 2, 10**12])
    assert row_keys(rows, 7).tolist() == [mixed(mixed(7) ^ int(row)) for row in rows]


def test_the_cut_can_be_repeated_by_hand() -> None:
    """docs/data.md, step by step, in plain Python."""
    strata = np.array([place % 3 for place in range(100)])
    split = settle(constant(UNKNOWN, 100), strata, "abc", case(val=0.2, test=0.1, seed=5))
    wanted = [TRAIN] * 100
    for stratum in range(3):
        rows = sorted((row for row in range(100) if row % 3 == stratum), key=lambda row: mixed(mixed(5) ^ row))
        num_test, num_val = int(len(rows) * 0.1 + 0.5), int(len(rows) * 0.2 + 0.5)
        for place, row in enumerate(rows[: num_test + num_val]):
            wanted[row] = TEST if place < num_test else VAL
    assert split.tolist() == wanted


def test_another_seed_is_another_cut() -> None:
    cuts = [settle(constant(UNKNOWN, 100), np.zeros(100, np.int64), "a", case(seed=seed)) for seed in (0, 0, 1)]
    assert np.array_equal(cuts[0], cuts[1])
    assert not np.array_equal(cuts[0], cuts[2])


@pytest.mark.parametrize(
    ("num", "shares", "wanted"),
    [
        (100, [0.1, 0.1], [10, 10]),
        (25, [0.1, 0.1], [3, 3]),
        (3, [0.1, 0.1], [1, 1]),
        (2, [0.1, 0.1], [0, 0]),
        (2, [0.1], [1]),
        (1, [0.1], [0]),
        (4, [0.45, 0.45], [1, 2]),
        (1000, [1e-9], [1]),
    ],
)
def test_quotas(num: int, shares: list[float], wanted: list[int]) -> None:
    assert quotas(num, shares) == wanted


def test_official_splits_are_kept() -> None:
    official = np.array([TRAIN] * 50 + [TEST] * 10, np.uint8)
    one = case(val=0.2)
    split = settle(official, np.arange(60) % 2, "ab", one)
    assert np.array_equal(split == TEST, official == TEST)
    assert (split == VAL).sum() == 10
    assert one.facts["split"] == {
        "rule": "As uploaded: test. Cut from the training rows, stratified, seed 0: val (0.2).",
        "seed": 0,
        "val": {"cut_from_train": 0.2},
        "test": "as uploaded",
    }


def test_small_classes_stay_in_train_and_are_named() -> None:
    strata = np.array([0] * 50 + [1] * 2 + [2])
    one = case()
    split = settle(constant(UNKNOWN, 53), strata, ["many", "two", "one"], one)
    assert np.all(split[50:] == TRAIN)
    [warning] = [line for line in one.checks if line.result == "warn"]
    assert "'two', 'one'" in warning.detail
    assert "at least 3 rows" in warning.detail


def test_nothing_to_cut_from_is_refused() -> None:
    with pytest.raises(Rejected, match="at least 3 rows"):
        settle(constant(UNKNOWN, 4), np.arange(4) % 2, "ab", case())
    with pytest.raises(Rejected, match="no training rows"):
        settle(constant(VAL, 4), np.arange(4) % 2, "ab", case())


def test_a_regression_is_cut_evenly_over_its_range() -> None:
    values = np.random.default_rng(0).exponential(size=1000)
    strata, names = rank_strata(values)
    assert len(names) == 10
    assert np.bincount(strata).tolist() == [100] * 10
    split = settle(constant(UNKNOWN, 1000), strata, names, case())
    for stratum in range(10):
        assert (split[strata == stratum] == VAL).sum() == 10
    assert values[strata == 0].max() <= values[strata == 1].min()

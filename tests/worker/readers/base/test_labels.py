"""Labels of every form, and the order of classes."""

import numpy as np
import pytest

from worker.readers.base.labels import MISSING, Labels, in_order, of_array, of_strings, plain_number


def test_strings() -> None:
    labels = of_strings(["b", "a", "", "b"])
    assert labels.names == ("b", "a")
    assert labels.codes.tolist() == [0, 1, MISSING, 0]


def test_a_new_name_joins_its_equal() -> None:
    labels = Labels(("1", "1.0", "2"), np.array([0, 1, 2, MISSING])).renamed(["1", "1", "2"])
    assert labels.names == ("1", "2")
    assert labels.codes.tolist() == [0, 0, 1, MISSING]


def test_negative_and_missing_numbers() -> None:
    labels = of_array(np.array([-1.0, np.nan, 1.0, -1.0]), "y")
    assert labels.names == ("-1", "1")
    assert labels.codes.tolist() == [0, MISSING, 1, 0]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["10", "9", "-1", "2.5"], ["-1", "2.5", "9", "10"]),
        (["b", "a", "10", "9"], ["10", "9", "a", "b"]),
        (["1e2", "99"], ["99", "1e2"]),
    ],
)
def test_order(names: list[str], wanted: list[str]) -> None:
    assert in_order(names) == wanted


def test_numbers_are_written_one_way() -> None:
    assert [plain_number(name) for name in ("1", "1.0", "+1", "01", "-3.", "1.5", "x")] == [
        "1",
        "1",
        "1",
        "1",
        "-3",
        "1.5",
        "x",
    ]

"""Which class is which: by the data, by the user's list, and where neither can be."""

from pathlib import Path

import numpy as np
import pytest

from tests.worker.readers.uploads import CLASSES, IMAGES, VALUES, accept, folders, noise, npz, refuse, zipped

X, Y = noise(60, 4, 4), np.arange(60) % 3


def text(labels: list[str], num: int = 60) -> bytes:
    return ("a,y\n" + "".join(f"{place},{labels[place % len(labels)]}\n" for place in range(num))).encode()


def test_the_users_order_counts(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped(folders()), IMAGES, classes=["dog", "cat"])
    assert ready.meta.classes == ["dog", "cat"]
    assert ready.y.tolist() == [1] * 10 + [0] * 10
    assert list(ready.report["histogram"]["train"]) == ["dog", "cat"]


def test_numbers_stand_for_places_in_the_list(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", npz(x=X, y=Y), IMAGES, classes=["top", "shoe", "bag"])
    assert ready.meta.classes == ["top", "shoe", "bag"]
    assert ready.y.tolist() == Y.tolist()


def test_numbers_may_be_listed_in_another_order(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", npz(x=X, y=Y), IMAGES, classes=["2", "0", "1"])
    assert ready.y.tolist() == [(label + 1) % 3 for label in Y.tolist()]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["cat", "dog", "emu"], "the data has no 'emu'"),
        (["cat", "emu"], "also has 'dog'; the data has no 'emu'"),
        (["cat", "dog", "cat"], "'cat' more than once"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, classes: list[str], words: str) -> None:
    refused = refuse(tmp_path / "x", zipped(folders()), IMAGES, classes=classes)
    assert (refused.code, refused.pointers) == ("classes", ["/classes"])
    assert words in refused.detail


def test_a_list_that_is_too_short_or_too_long_for_numbers(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", npz(x=X, y=Y), IMAGES, classes=["a", "b"]).code == "classes"
    refused = refuse(tmp_path / "x", npz(x=X, y=Y), IMAGES, classes=["a", "b", "c", "d"])
    assert refused.code == "classes"
    assert "'d'" in refused.detail


def test_labels_of_tables_are_written_one_way(tmp_path: Path) -> None:
    assert accept(tmp_path / "x", text(["10", "9.0", "9", " +2"]), CLASSES).meta.classes == ["2", "9", "10"]


def test_rows_without_a_label_are_bad_rows(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", text(["a"] * 50 + ["b"] * 49 + ["NA"], 300), CLASSES)
    assert ready.report["bad_rows"]["count"] == 3
    assert len(ready.y) == 297


def test_what_looks_like_values_is_refused_as_classes(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", text([f"{place}.5" for place in range(300)], 300), CLASSES)
    assert (refused.code, refused.pointers) == ("target", ["/task"])
    assert "tabular_regression" in refused.detail
    refused = refuse(tmp_path / "x", text([f"name{place}" for place in range(300)], 300), CLASSES)
    assert (refused.code, refused.pointers) == ("target", ["/table/target"])


def test_text_is_no_regression(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", text(["high", "low"]), VALUES)
    assert (refused.code, refused.pointers) == ("target", ["/table/target"])
    assert "'high'" in refused.detail
    assert "tabular_classification" in refused.detail


def test_a_regression_has_no_classes_and_more_than_one_value(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", text(["1", "2"]), VALUES, classes=["1", "2"]).pointers == ["/classes"]
    refused = refuse(tmp_path / "x", text(["1"]), VALUES)
    assert refused.code == "target"
    assert "nothing to predict" in refused.detail


def test_an_infinite_target_is_refused_by_name(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", text(["1", "2", "inf"]), VALUES)
    assert refused.code == "bad_rows"
    assert "target 'y' is no finite number" in refused.detail


def test_fewer_than_two_classes(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", text(["yes"]), CLASSES)
    assert refused.code == "classes"
    assert "'yes'" in refused.detail


def test_a_name_that_cannot_be_shown(tmp_path: Path) -> None:
    for label in ("a\x07b", "x" * 201):
        labels = np.array(["good", label])[np.arange(60) % 2]
        assert refuse(tmp_path / "x", npz(x=X, y=labels), IMAGES).code == "classes"

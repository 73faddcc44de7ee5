"""How columns become features: every rule of docs/data.md, checked against NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.worker.readers.uploads import CLASSES, IMAGES, Ready, accept, folders, refuse, zipped
from worker.intake.columns import Moments

NUM = 300
CELLS = {
    "number": [f"{place / 4 - 20}" for place in range(NUM)],
    "gaps": ["?" if place % 10 == 0 else f" {place}e-1" for place in range(NUM)],
    "words": [["low", "mid", "high", "NA"][place % 4] for place in range(NUM)],
    "same": ["7"] * NUM,
    "same_word": ["x"] * NUM,
    "same_or_missing": ["5" if place % 3 else "" for place in range(NUM)],
    "empty": ["", "None", "null"] * (NUM // 3),
    "unique": [f"id{place}" for place in range(NUM)],
    "stray": ["unknown" if place == 77 else str(place) for place in range(NUM)],
    "endless": ["inf" if place == 5 else str(place) for place in range(NUM)],
    "huge": [f"{place}e306" for place in range(NUM)],
}
Y = [place % 2 for place in range(NUM)]


def made(columns: list[str], extra: str = "") -> bytes:
    lines = [",".join([*columns, "y"])]
    lines += [",".join([*(CELLS[name][row] for name in columns), str(Y[row])]) for row in range(NUM)]
    return ("\n".join(lines) + "\n" + extra).encode()


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    return accept(tmp_path / "x", made(list(CELLS)), CLASSES)


def block(ready: Ready, name: str) -> np.ndarray:
    """The features of one column."""
    start = 0
    for column in ready.meta.columns:
        if column.name == name:
            return ready.x[:, start : start + column.num_features]
        start += column.num_features
    raise KeyError(name)


def test_numbers_are_standardised_by_the_training_rows(ready: Ready) -> None:
    values = np.array(CELLS["number"], np.float64)
    train = values[ready.split == 0]
    column = ready.meta.columns[0]
    assert (column.mean, column.std) == pytest.approx((train.mean(), train.std()))
    assert np.allclose(block(ready, "number")[:, 0], (values - train.mean()) / train.std(), atol=1e-6)
    assert ready.column("number")["min"] == train.min()


def test_a_missing_number_is_the_mean_and_is_flagged(ready: Ready) -> None:
    is_missing = np.arange(NUM) % 10 == 0
    features = block(ready, "gaps")
    assert features.shape == (NUM, 2)
    assert np.array_equal(features[:, 1], is_missing)
    assert np.all(features[is_missing, 0] == 0)
    known = np.arange(NUM)[~is_missing & (ready.split == 0)] / 10
    assert np.allclose(
        features[~is_missing, 0], (np.arange(NUM)[~is_missing] / 10 - known.mean()) / known.std(), atol=1e-6
    )


def test_categories_are_one_hot_and_a_missing_one_is_nothing(ready: Ready) -> None:
    names = ["high", "low", "mid"]
    assert next(column for column in ready.meta.columns if column.name == "words").categories == names
    wanted = [[cell == name for name in names] for cell in CELLS["words"]]
    assert np.array_equal(block(ready, "words"), wanted)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("same", "one value throughout"),
        ("same_word", "one value throughout"),
        ("empty", "no training row has a value"),
        ("unique", "different values in 240 training rows"),
        ("stray", "all but 1 of 300 cells are numbers: if 'unknown' means"),
        ("huge", "too large"),
    ],
)
def test_columns_that_are_left_out_are_told_why(ready: Ready, name: str, words: str) -> None:
    assert words in ready.column(name)["reason"]
    assert any(name in line["detail"] for line in ready.report["checks"] if line["id"] == "column_left_out")


def test_a_value_that_is_there_or_not_is_a_feature(ready: Ready) -> None:
    features = block(ready, "same_or_missing")
    assert np.all(features[:, 0] == 0)
    assert np.array_equal(features[:, 1], np.arange(NUM) % 3 == 0)


def test_an_infinite_number_counts_as_missing(ready: Ready) -> None:
    features = block(ready, "endless")
    assert np.isfinite(ready.x).all()
    assert features[5, 0] == 0
    if ready.split[5] == 0:
        assert features[5, 1] == 1


def test_a_word_for_missing_may_be_added(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", made(["stray"]), CLASSES, table={"missing": ["unknown"]})
    assert ready.meta.columns[0].kind == "numeric"


def test_columns_may_be_ignored_and_read_as_categories(tmp_path: Path) -> None:
    cells = made(["number", "words", "unique"])
    ready = accept(tmp_path / "x", cells, CLASSES, table={"ignore": ["number"], "categorical": ["unique"]})
    assert [column.name for column in ready.meta.columns] == ["words", "unique"]
    assert ready.meta.columns[1].num_features == 240  # the values of the training rows


def test_too_many_categories(tmp_path: Path) -> None:
    text = "a,b,y\n" + "".join(f"{place},v{place},{place % 2}\n" for place in range(2000))
    ready = accept(tmp_path / "x", text.encode(), CLASSES)
    assert "more than 1000 different values" in ready.column("b")["reason"]
    refused = refuse(tmp_path / "y", text.encode(), CLASSES, table={"categorical": ["b"]})
    assert (refused.code, refused.pointers) == ("columns", ["/table/categorical"])


def test_what_is_learnt_is_learnt_from_train(tmp_path: Path) -> None:
    """Rows of test with values far off change neither figures nor categories."""
    train = "a,b,c,y\n" + "".join(f"{place},{'uv'[place % 2]},{place},{place % 2}\n" for place in range(100))
    test = "a,b,c,y\n" + "".join(f"{place + 10**6},w,,{place % 2}\n" for place in range(100))
    ready = accept(tmp_path / "x", zipped({"train.csv": train.encode(), "test.csv": test.encode()}), CLASSES)
    values = np.arange(100)[ready.split[:100] == 0]
    assert ready.meta.columns[0].mean == pytest.approx(values.mean())
    assert ready.meta.columns[1].categories == ["u", "v"]
    assert not ready.meta.columns[2].indicator
    tests = ready.x[ready.split == 2]
    assert np.all(tests[:, 1:3] == 0)
    assert np.all(tests[:, 3] == 0)
    assert np.all(tests[:, 0] > 1000)


def test_a_value_too_large_for_float32_stays_finite(tmp_path: Path) -> None:
    train = "a,y\n" + "".join(f"{place},{place % 2}\n" for place in range(100))
    files = {"train.csv": train.encode(), "test.csv": b"a,y\n1e300,0\n-1e300,1\n"}
    ready = accept(tmp_path / "x", zipped(files), CLASSES)
    assert np.isfinite(ready.x).all()
    assert ready.x[-1, 0] < -1e38


def test_no_column_left(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", made(["same", "unique"]), CLASSES)
    assert refused.code == "columns"
    assert [column["kind"] for column in refused.report["columns"]] == ["left out", "left out"]


def test_options_of_the_other_kind_are_not_silent(tmp_path: Path) -> None:
    assert "image" in accept(tmp_path / "x", made(["number"]), CLASSES, image={"channels": 1}).warnings()["unused"]
    assert "table" in accept(tmp_path / "y", zipped(folders()), IMAGES, table={"header": "no"}).warnings()["unused"]
    assert refuse(tmp_path / "z", zipped(folders()), IMAGES, split={"column": "part"}).pointers == ["/split/column"]


def test_the_report_is_json_that_a_database_takes(ready: Ready, tmp_path: Path) -> None:
    text = json.dumps(ready.report, allow_nan=False)
    assert "\\u0000" not in text
    json.dumps(ready.meta.model_dump(mode="json"), allow_nan=False)
    odd = "a,b,y\n" + "".join(f"{place},{chr(0xD7FF)}{place % 2},{place % 2}\n" for place in range(60))
    json.dumps(accept(tmp_path / "y", odd.encode(), CLASSES).report, allow_nan=False).encode()


def test_moments_in_pieces_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1e6, 3, 1000)
    moments = Moments()
    for piece in np.split(values, [1, 1, 400, 999]):
        moments.add(piece)
    assert (moments.num, moments.low, moments.high) == (1000, values.min(), values.max())
    assert (moments.mean, moments.std) == pytest.approx((values.mean(), values.std()), rel=1e-9)

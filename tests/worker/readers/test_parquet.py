"""Parquet: typed columns, files of splits, and what is not flat."""

import datetime
import decimal
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.worker.readers.uploads import CLASSES, IMAGES, VALUES, accept, refuse, zipped

NUM = 60
PLACES = np.arange(NUM)


def packed(**columns: object) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out, row_group_size=17)
    return out.getvalue()


def test_types_of_columns(tmp_path: Path) -> None:
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(place)) for place in PLACES]
    upload = packed(
        whole=PLACES.astype(np.int16),
        half=(PLACES / 2).astype(np.float16),
        cents=[decimal.Decimal(int(place)) / 4 for place in PLACES],
        day=days,
        flag=PLACES % 3 == 0,
        word=pa.array([f"w{place % 4}" for place in PLACES]).dictionary_encode(),
        gap=[None if place % 5 == 0 else float(place) for place in PLACES],
        nested=[[1, 2]] * NUM,
        blob=[b"x"] * NUM,
        nothing=pa.nulls(NUM),
        y=[bool(place % 2) for place in PLACES],
    )
    ready = accept(tmp_path / "x", upload, CLASSES)
    assert ready.report["format"] == "parquet"
    assert ready.meta.classes == ["false", "true"]
    kinds = {column.name: (column.kind, column.num_features) for column in ready.meta.columns}
    assert kinds == {
        **dict.fromkeys(("whole", "half", "cents", "day", "flag"), ("numeric", 1)),
        "word": ("categorical", 4),
        "gap": ("numeric", 2),
    }
    for place in range(4):  # all four go up evenly, so they are the same once standardised
        assert np.allclose(ready.x[:, place], ready.x[:, 0], atol=2e-3)
    assert ready.column("nothing")["reason"] == "no training row has a value"
    left_out = [line["detail"] for line in ready.report["checks"] if line["id"] == "columns"]
    assert any("nested" in detail for detail in left_out)
    assert any("blob" in detail for detail in left_out)


def test_numbers_may_be_categories_and_classes(tmp_path: Path) -> None:
    ready = accept(
        tmp_path / "x", packed(a=PLACES % 11, b=PLACES, y=(PLACES % 2) * 1.0), CLASSES, table={"categorical": ["a"]}
    )
    assert ready.meta.columns[0].categories == [str(place) for place in range(11)]
    assert np.array_equal(ready.x[:, :11].argmax(1), PLACES % 11)
    assert ready.meta.classes == ["0", "1"]


def test_row_numbers_of_pandas_are_no_feature(tmp_path: Path) -> None:
    ready = accept(
        tmp_path / "x", packed(a=PLACES, y=PLACES % 2, __index_level_0__=PLACES), CLASSES, table={"target": "y"}
    )
    assert [column.name for column in ready.meta.columns] == ["a"]


def test_files_of_splits(tmp_path: Path) -> None:
    upload = zipped(
        {
            "data/test-00000.parquet": packed(y=PLACES % 2, a=PLACES),
            "data/train-00000.parquet": packed(a=PLACES, y=PLACES % 2),
            "data/train-00001.parquet": packed(a=PLACES + NUM, y=PLACES % 2),
        }
    )
    ready = accept(tmp_path / "x", upload, VALUES, table={"target": "a"}, split={"val": 0.25})
    assert ready.meta.counts == {"train": 90, "val": 30, "test": 60}
    assert ready.meta.target is not None
    values = ready.y * ready.meta.target.std + ready.meta.target.mean
    assert np.allclose(values, np.concatenate([PLACES, PLACES + NUM, PLACES]), atol=1e-4)


def test_missing_and_infinite_targets_are_bad_rows(tmp_path: Path) -> None:
    y = [None, float("nan"), float("inf"), *PLACES[3:].tolist()]
    ready = accept(tmp_path / "x", packed(a=PLACES, y=pa.array(y, pa.float64())), VALUES, max_bad_share=0.1)
    assert ready.report["bad_rows"]["count"] == 3
    reasons = {line["name"]: line["reason"] for line in ready.report["bad_rows"]["listed"]}
    assert reasons == {
        "mine.dat, row 0": "target 'y' is missing (labels `partial` keeps such rows)",
        "mine.dat, row 1": "target 'y' is missing (labels `partial` keeps such rows)",
        "mine.dat, row 2": "target 'y' is no finite number",
    }
    refused = refuse(tmp_path / "y", packed(a=PLACES, y=pa.array(y, pa.float64())), VALUES)
    assert refused.code == "bad_rows"
    assert "no finite number" in refused.detail


@pytest.mark.parametrize("cut", [slice(None, 200), slice(None, -100), slice(0, 4)])
def test_a_damaged_file(tmp_path: Path, cut: slice) -> None:
    refused = refuse(tmp_path / "x", packed(a=PLACES, y=PLACES % 2)[cut], CLASSES)
    assert refused.code == "damaged"


def test_pages_that_are_damaged(tmp_path: Path) -> None:
    content = bytearray(packed(a=PLACES, y=PLACES % 2))
    content[10:60] = b"\xff" * 50
    assert refuse(tmp_path / "x", bytes(content), CLASSES).code == "damaged"


def test_a_table_is_no_set_of_images(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", packed(a=PLACES, y=PLACES % 2), IMAGES)
    assert (refused.code, refused.pointers) == ("task", ["/task"])

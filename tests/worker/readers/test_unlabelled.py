"""Rows without labels, in each format: kept where the spec says so, told of, and refused where it does not."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from models.spec.data import DatasetSpec
from tests.worker.readers.uploads import (
    CLASSES,
    IMAGES,
    VALUES,
    Ready,
    accept,
    folders,
    grey,
    idx,
    noise,
    npz,
    refuse,
    tarred,
    zipped,
)

LABELS = np.arange(40) % 4
SOME: dict[str, Any] = {"labels": "partial"}
PETS: dict[str, Any] = {"labels": "none", "classes": ["cat", "dog"]}


def table(y: Sequence[object], **columns: Any) -> bytes:
    """Parquet of a column `a` that counts, and y."""
    out = io.BytesIO()
    parquet.write_table(pa.table({"a": np.arange(len(y)), "y": pa.array(y), **columns}), out)
    return out.getvalue()


def unlabelled(num: int, top: str = "unlabelled/") -> dict[str, bytes]:
    return {f"{top}{place:02}.png": grey(100 + place) for place in range(num)}


def check_counts(ready: Ready, num_unlabelled: int) -> None:
    """Record, report and file agree."""
    is_nan = np.isnan(ready.y) if ready.y.dtype == np.float32 else ready.y == -1
    assert int(is_nan.sum()) == num_unlabelled
    for place, name in enumerate(("train", "val", "test")):
        num = int((~is_nan)[ready.split == place].sum())
        assert ready.meta.num_labelled(name) == ready.report["labelled"][name] == num
        assert (name in ready.meta.labelled) == (num < ready.meta.counts[name])
    [line] = [line for line in ready.report["checks"] if line["id"] == "unlabelled"]
    assert line["detail"].startswith(f"{num_unlabelled} of {len(ready.y)} rows")


@pytest.mark.parametrize("top", ["unlabelled/", "Unlabeled/deep/er/", ""])
@pytest.mark.parametrize("around", ["", "pets/"])
def test_pictures_beside_class_folders(tmp_path: Path, top: str, around: str) -> None:
    files = {**unlabelled(20, around + top), **folders(top=around), f"{around}README.md": b"hello"}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, **SOME)
    assert ready.meta.classes == ["cat", "dog"]
    assert ready.y.tolist() == [0] * 10 + [1] * 10 + [-1] * 20
    assert ready.x[20:, 0, 0, 0].tolist() == list(range(100, 120))
    check_counts(ready, 20)


def test_unlabelled_pictures_in_and_beside_splits(tmp_path: Path) -> None:
    files = {**folders(6, "train/"), **unlabelled(3, "train/unlabelled/"), **unlabelled(2, "train/")}
    files |= {**folders(2, "test/"), **unlabelled(4, "test/"), **unlabelled(10)}
    ready = accept(tmp_path / "x", tarred(files), IMAGES, split={"val": 0.2}, **SOME)
    # 12 + 3 + 2 + 10 rows of train give a fifth of each class and of those without one.
    assert ready.meta.counts == {"train": 27 - 2 - 3, "val": 1 + 1 + 3, "test": 8}
    assert ready.meta.labelled == {"train": 10, "val": 2, "test": 4}
    check_counts(ready, 19)


def test_an_unlabelled_folder_beside_train_alone(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped({**folders(6, "train/"), **unlabelled(6)}), IMAGES, **SOME)
    assert ready.meta.classes == ["cat", "dog"]
    check_counts(ready, 6)


@pytest.mark.parametrize("top", ["", "photos/", "photos/a/"])
def test_pictures_without_classes(tmp_path: Path, top: str) -> None:
    ready = accept(tmp_path / "x", zipped(unlabelled(20, top)), IMAGES, **PETS)
    assert ready.meta.classes == ["cat", "dog"]
    assert ready.meta.num_outputs == 2
    assert ready.meta.counts == {"train": 16, "val": 2, "test": 2}
    check_counts(ready, 20)
    assert ready.warnings().keys() == set()


def test_pictures_without_classes_in_splits(tmp_path: Path) -> None:
    files = {**unlabelled(8, "set/train/"), **unlabelled(2, "set/val/x/"), **unlabelled(4, "set/test/")}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, **PETS)
    assert ready.meta.counts == {"train": 8, "val": 2, "test": 4}


def test_a_folder_called_unlabelled_needs_a_word(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped({**folders(), **unlabelled(5)}), IMAGES)
    assert (refused.code, refused.pointers) == ("labels", ["/labels"])
    assert "partial" in refused.detail


def test_no_class_folders_name_the_remedy(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped(unlabelled(5, "")), IMAGES)
    assert refused.code == "layout"
    assert "labels to none" in refused.detail
    assert refuse(tmp_path / "y", zipped(unlabelled(5, "")), IMAGES, **SOME).code == "layout"


@pytest.mark.parametrize("missing", [-1, np.nan])
def test_arrays_with_gaps(tmp_path: Path, missing: float) -> None:
    y = LABELS.astype(np.float64)
    y[20:] = missing
    ready = accept(tmp_path / "x", npz(x=noise(40, 4, 4), y=y), IMAGES, **SOME)
    assert ready.meta.classes == ["0", "1", "2", "3"]
    assert ready.y.tolist() == [*LABELS[:20].tolist(), *[-1] * 20]
    check_counts(ready, 20)
    rows = accept(tmp_path / "y", npz(x=noise(40, 5), y=y), CLASSES, **SOME)
    assert rows.y.tolist() == ready.y.tolist()
    check_counts(rows, 20)


def test_arrays_of_which_a_split_has_no_labels(tmp_path: Path) -> None:
    arrays = {"x_train": noise(20, 4, 4), "x_test": noise(20, 4, 4), "y_test": LABELS[:20].astype("U1")}
    ready = accept(tmp_path / "x", npz(**arrays), IMAGES, **SOME)
    assert ready.meta.labelled == {"train": 0, "val": 0}
    check_counts(ready, 20)
    refused = refuse(tmp_path / "y", npz(**arrays), IMAGES)
    assert refused.code == "keys"
    assert "labels to partial" in refused.detail


def test_arrays_without_labels(tmp_path: Path) -> None:
    for name, arrays in (("bare", {}), ("beside", {"y": LABELS})):
        ready = accept(tmp_path / name, npz(x=noise(40, 4, 4), **arrays), IMAGES, **PETS)
        check_counts(ready, 40)
        assert [line["name"] for line in ready.report["ignored"]["listed"]] == list(arrays)
        rows = accept(tmp_path / f"{name} rows", npz(x=noise(40, 5), **arrays), CLASSES, **PETS)
        check_counts(rows, 40)
        assert rows.meta.input_shape == (5,)


def test_idx_without_label_files(tmp_path: Path) -> None:
    files = {"train-images": idx(noise(20, 4, 4)), "t10k-images": idx(noise(8, 4, 4))}
    ready = accept(tmp_path / "x", zipped(files), IMAGES, **PETS)
    check_counts(ready, 28)
    labels = {"t10k-labels": idx((np.arange(8) % 2).astype(np.uint8))}
    ready = accept(tmp_path / "y", zipped({**files, **labels}), IMAGES, **SOME)
    assert ready.meta.labelled == {"train": 0, "val": 0}
    assert ready.meta.counts["test"] == 8
    assert refuse(tmp_path / "z", zipped(files), IMAGES).code == "pairs"


def test_tables_with_empty_targets(tmp_path: Path) -> None:
    y = ["yes", "no"] * 10 + [None] * 10 + ["?"] * 10
    text = "a,y\n" + "".join(f"{place},{cell or ''}\n" for place, cell in enumerate(y))
    for name, upload in (("csv", text.encode()), ("parquet", table(y))):
        ready = accept(tmp_path / name, upload, CLASSES, **SOME)
        assert ready.meta.classes == ["no", "yes"]
        assert ready.y.tolist() == [1, 0] * 10 + [-1] * 20
        check_counts(ready, 20)
        refused = refuse(tmp_path / f"{name} refused", upload, CLASSES)
        assert (refused.code, refused.pointers) == ("bad_rows", ["/max_bad_share"])
        assert "labels `partial`" in refused.detail


def test_tables_without_a_target(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", b"a,b\n" + b"1,2\n3,5\n" * 10, CLASSES, **PETS)
    assert [column["name"] for column in ready.report["columns"]] == ["a", "b"]
    check_counts(ready, 20)
    values = accept(tmp_path / "y", b"a,b\n" + b"1,2\n3,5\n" * 10, VALUES, labels="none")
    assert values.meta.target is not None
    assert (values.meta.target.mean, values.meta.target.std) == (0.0, 1.0)
    assert values.warnings().keys() == {"target_scale"}
    check_counts(values, 20)


def test_a_regression_is_scaled_by_labelled_training_rows(tmp_path: Path) -> None:
    y = [float(place) for place in range(30)] + [None] * 15 + [float("nan")] * 15
    split = ["train"] * 20 + ["val"] * 5 + ["test"] * 5 + ["train"] * 30
    ready = accept(tmp_path / "x", table(y, s=split), VALUES, table={"target": "y"}, split={"column": "s"}, **SOME)
    assert ready.meta.target is not None
    assert ready.meta.target.mean == pytest.approx(9.5)
    assert ready.meta.target.std == pytest.approx(np.arange(20).std())
    assert ready.y[:30] * ready.meta.target.std + 9.5 == pytest.approx(np.arange(30), abs=1e-4)
    assert ready.meta.labelled == {"train": 20}
    check_counts(ready, 30)
    assert sum(ready.report["histogram"]["train"]) == 20


def test_a_number_that_is_none_stays_a_bad_row(tmp_path: Path) -> None:
    text = "a,y\n" + "".join(f"{place},{place if place % 2 else ''}\n" for place in range(98)) + "98,oops\n"
    ready = accept(tmp_path / "x", text.encode(), VALUES, max_bad_share=0.05, **SOME)
    assert ready.report["bad_rows"]["listed"] == [
        {"name": "mine.dat, line 100", "reason": "target 'y' is no finite number"}
    ]
    check_counts(ready, 49)


def test_arrays_of_values_with_gaps(tmp_path: Path) -> None:
    y = np.arange(40.0)
    y[::2] = np.nan
    check_counts(accept(tmp_path / "x", npz(x=noise(40, 3), y=y), VALUES, **SOME), 20)
    arrays = {"x_train": noise(40, 3), "x_test": noise(40, 3, seed=1), "y_test": np.arange(40.0)}
    ready = accept(tmp_path / "y", npz(**arrays), VALUES, **SOME)
    assert "target_scale" in ready.warnings()
    check_counts(ready, 40)
    assert np.array_equal(ready.y[ready.split == 2], np.arange(40, dtype=np.float32))


def test_the_cut_takes_its_share_of_those_without_a_label(tmp_path: Path) -> None:
    y = np.where(np.arange(400) < 100, np.arange(400) % 2, -1)
    ready = accept(tmp_path / "x", npz(x=noise(400, 2, 2), y=y), IMAGES, split={"val": 0.2, "test": 0.1}, **SOME)
    assert ready.meta.counts == {"train": 280, "val": 80, "test": 40}
    assert ready.meta.labelled == {"train": 70, "val": 20, "test": 10}
    assert ready.report["histogram"]["val"] == {"0": 10, "1": 10}


def test_classes_that_no_labelled_row_has(tmp_path: Path) -> None:
    upload = zipped({**folders(), **unlabelled(20)})
    ready = accept(tmp_path / "x", upload, IMAGES, classes=["cat", "cow", "dog"], **SOME)
    assert ready.meta.classes == ["cat", "cow", "dog"]
    assert set(ready.y.tolist()) == {0, 2, -1}
    assert "class_absent" in ready.warnings()
    refused = refuse(tmp_path / "y", upload, IMAGES, classes=["cat", "cow"], **SOME)
    assert (refused.code, refused.pointers) == ("classes", ["/classes"])
    assert "'dog'" in refused.detail


def test_partial_needs_some_and_is_told_where_all_have_one(tmp_path: Path) -> None:
    for task in (CLASSES, VALUES):
        refused = refuse(tmp_path / task, table([None] * 20, b=["x", "z"] * 10), task, table={"target": "y"}, **SOME)
        assert (refused.code, refused.pointers) == ("labels", ["/labels"])
        assert "labels to none" in refused.detail
    ready = accept(tmp_path / "x", zipped(folders()), IMAGES, **SOME)
    assert ready.meta.labelled == {}
    check_counts(ready, 0)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"task": IMAGES, "labels": "none"}, "classes"),
        ({"task": CLASSES, "labels": "none"}, "classes"),
        ({"task": VALUES, "labels": "none", "table": {"target": "y"}}, "table.target"),
        ({"task": IMAGES, "labels": "some"}, "required"),
    ],
)
def test_specs_that_make_no_sense(spec: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DatasetSpec.model_validate(spec)


def test_names_of_classes_differ(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped(unlabelled(9, "")), IMAGES, labels="none", classes=["a", "b", "a"])
    assert (refused.code, refused.pointers) == ("classes", ["/classes"])

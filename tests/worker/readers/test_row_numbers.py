"""How rows are numbered, as docs/data.md says it: given outputs are joined to samples by these numbers."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tests.worker.readers.uploads import CLASSES, IMAGES, accept, grey, idx, npz, tarred, zipped

PICTURES = {
    "train/b/z.png": 0,
    "train/b/a/9.png": 1,
    "train/b/10.png": 2,
    "train/B/1.png": 3,
    "train/unlabelled/0.png": 4,
    "test/b/1.png": 5,
    "test/B/1.png": 6,
    "val/b/1.png": 7,
    "val/B/1.png": 8,
    "train/10/1.png": 9,
    "train/9/1.png": 10,
}
#: Uploads of four images or rows a split; those of split s have the values 10 * s to 10 * s + 3.
SPLITS = {"val": 1, "test": 2, "train": 0}


def values(place: int) -> np.ndarray:
    return np.arange(10 * place, 10 * place + 4, dtype=np.uint8)


def pixels(place: int) -> np.ndarray:
    return np.repeat(values(place), 4).reshape(4, 2, 2)


def test_pictures_are_numbered_by_split_class_and_path(tmp_path: Path) -> None:
    files = {name: grey(value) for name, value in PICTURES.items() if "/B/" not in name}
    files["train/b/1.png"] = b"broken"
    for name, upload in (("zip", zipped(files)), ("tar", tarred(dict(reversed(files.items()))))):
        ready = accept(tmp_path / name, upload, IMAGES, labels="partial", max_bad_share=0.5)
        order = sorted(
            (path for path in files if files[path] != b"broken"),
            key=lambda path: (
                ["train", "val", "test"].index(path.split("/")[0]),
                path.split("/")[1] == "unlabelled",
                path.split("/")[1],
                path,
            ),
        )
        assert ready.x[:, 0, 0, 0].tolist() == [PICTURES[path] for path in order]
        assert (
            ready.report["first_rows"]
            == order[:5]
            == [
                "train/10/1.png",
                "train/9/1.png",
                "train/b/10.png",
                "train/b/a/9.png",
                "train/b/z.png",
            ]
        )


def test_arrays_are_numbered_by_split_and_place(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, place in SPLITS.items():
        arrays |= {f"x_{name}": pixels(place), f"y_{name}": np.array([0, 1, 0, -1])}
    arrays["x_train"][0, 0, 0] = 255
    ready = accept(tmp_path / "x", npz(**arrays), IMAGES, labels="partial")
    assert ready.x[:, 0, 1, 1].tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert ready.report["first_rows"] == [f"x_train[{place}]" for place in range(4)] + ["x_val[0]"]
    # A row that cannot be used has no number: those after it move up.
    labels = {f"y_{name}": np.array([0.0, 1, 0, 1]) for name in SPLITS} | {"y_train": np.array([0, np.nan, 1, 0])}
    ready = accept(tmp_path / "y", npz(**{**arrays, **labels}), IMAGES, max_bad_share=0.5)
    assert ready.x[:4, 0, 1, 1].tolist() == [0, 2, 3, 10]
    assert ready.report["first_rows"][:2] == ["x_train[0]", "x_train[2]"]


def test_idx_files_are_numbered_by_split_and_place(tmp_path: Path) -> None:
    files = {f"{name}-images": idx(pixels(place)) for name, place in SPLITS.items()}
    files |= {f"{name}-labels": idx(values(place) % 2) for name, place in SPLITS.items()}
    ready = accept(tmp_path / "x", zipped(files), IMAGES)
    assert ready.report["first_rows"][0] == "train-images[0]"
    assert ready.y.tolist() == [0, 1] * 6
    assert ready.x[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]


def encoded(kind: str, rows: np.ndarray) -> bytes:
    if kind == "csv":
        return ("a,y\n" + "".join(f"{row},{row % 2}\n" for row in rows)).encode()
    out = io.BytesIO()
    parquet.write_table(pa.table({"a": rows, "y": rows % 2}), out)
    return out.getvalue()


def test_tables_are_numbered_by_split_file_and_place(tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        files = {f"{name}-b.{kind}": encoded(kind, values(place)) for name, place in SPLITS.items()}
        files[f"train-a.{kind}"] = encoded(kind, values(5))
        ready = accept(tmp_path / kind, zipped(files), CLASSES)
        column = ready.meta.columns[0]
        told = [50, 51, 52, 53, 0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
        assert np.rint(ready.x[:, 0] * column.std + column.mean).tolist() == told
        start = "line 2" if kind == "csv" else "row 0"
        assert ready.report["first_rows"][0] == f"train-a.{kind}, {start}"


def test_neither_a_cut_nor_a_column_of_splits_moves_rows(tmp_path: Path) -> None:
    lines = [f"{place},{('test', 'train', 'val')[place % 3]},{place // 3 % 2}" for place in range(60)]
    upload = ("a,s,y\n" + "\n".join(lines)).encode()
    for name, spec in (("column", {"split": {"column": "s"}}), ("cut", {"table": {"ignore": ["s"]}})):
        ready = accept(tmp_path / name, upload, CLASSES, table={"target": "y", **spec.pop("table", {})}, **spec)
        column = ready.meta.columns[0]
        assert np.rint(ready.x[:, 0] * column.std + column.mean).tolist() == list(range(60))
        assert sorted(ready.split.tolist()) != ready.split.tolist()

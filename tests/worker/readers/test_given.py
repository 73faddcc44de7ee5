"""Outputs of a teacher, handed in as arrays or as a table: what the engine then reads, and what is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from pyarrow import parquet
from safetensors.numpy import load_file

from models.canonical import OutputsMeta
from models.work import IntakeResult
from tests.worker.readers.uploads import folders, npz, refuse, tarred, verdict, zipped
from worker.readers.base.limits import Limits

TASK = "teacher_outputs"
LOGITS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


class Given:
    """A good verdict and what its file holds."""

    def __init__(self, result: IntakeResult, folder: Path) -> None:
        assert result.ready, result.report["checks"]
        assert result.file is not None
        self.report: dict[str, Any] = result.report
        self.meta = OutputsMeta.model_validate(result.meta)
        tensors = load_file(folder / "out" / result.file)
        assert sorted(tensors) == ["logits", "rows"]
        self.logits, self.rows = tensors["logits"], tensors["rows"]
        assert self.logits.dtype == np.float32
        assert self.rows.dtype == np.int64
        assert self.logits.shape == (self.meta.num_rows, self.meta.num_outputs)
        assert self.meta.last_row == self.rows[-1]
        assert (np.diff(self.rows) > 0).all()

    def warnings(self) -> list[str]:
        return [line["id"] for line in self.report["checks"] if line["result"] == "warn"]


def accept(folder: Path, upload: bytes, limits: Limits = Limits(), **spec: object) -> Given:  # noqa: B008 frozen
    return Given(*verdict(folder, upload, TASK, limits, **spec))


def csv(rows: NDArray[np.int64] | None, logits: NDArray[Any] = LOGITS, header: bool = True) -> bytes:
    names = [f"z{place}" for place in range(logits.shape[1])] + (["row"] if rows is not None else [])
    lines = [",".join(names)] if header else []
    for place, line in enumerate(logits.tolist()):
        cells = [repr(value) for value in line] + ([str(rows[place])] if rows is not None else [])
        lines.append(",".join(cells))
    return "\n".join(lines).encode()


def parquet_of(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out)
    return out.getvalue()


def test_rows_are_the_places_where_nothing_is_said(tmp_path: Path) -> None:
    columns = {f"z{place}": LOGITS[:, place] for place in range(3)}
    uploads = {
        "npz": npz(logits=LOGITS),
        "csv": csv(None),
        "bare": csv(None, header=False),
        "parquet": parquet_of(columns),
        "tar": tarred({"a.csv": csv(None)}, "gz"),
    }
    for name, upload in uploads.items():
        given = accept(tmp_path / name, upload)
        assert given.rows.tolist() == [0, 1, 2, 3, 4, 5], name
        assert np.array_equal(given.logits, LOGITS), name
        assert given.meta.classes == []
        assert given.warnings() == []


def test_rows_are_sorted_with_their_outputs(tmp_path: Path) -> None:
    rows = np.array([40, 7, 8, 9, 0, 3])
    order = np.argsort(rows)
    columns = {"row": rows, **{f"z{place}": LOGITS[:, place].astype(np.float64) for place in range(3)}}
    for name, upload in (
        ("npz", npz(logits=LOGITS.astype(np.float64), rows=rows.astype(np.uint16))),
        ("csv", csv(rows)),
        ("parquet", parquet_of(columns)),
    ):
        for block_bytes in (2**20, 48):  # also two rows at a time
            given = accept(tmp_path / f"{name}{block_bytes}", upload, Limits(block_bytes=block_bytes))
            assert given.rows.tolist() == [0, 3, 7, 8, 9, 40]
            assert np.array_equal(given.logits, LOGITS[order])
            assert given.report["rows"] == {"first": 0, "last": 40}
            assert given.report["shape"] == [6, 3]


def test_rows_without_outputs_are_left_out(tmp_path: Path) -> None:
    logits = LOGITS.copy()
    logits[[1, 4]] = np.nan
    for name, upload in (("npz", npz(logits=logits)), ("csv", csv(None, logits)), ("empty", csv(None, logits))):
        given = accept(tmp_path / name, upload.replace(b"nan", b"") if name == "empty" else upload)
        assert given.rows.tolist() == [0, 2, 3, 5]
        assert np.array_equal(given.logits, LOGITS[[0, 2, 3, 5]])
        assert given.report["counts"] == {"with_outputs": 4, "without_outputs": 2}
        assert given.report["bad_rows"]["count"] == 0


def test_figures_tell_of_the_outputs(tmp_path: Path) -> None:
    given = accept(tmp_path / "x", npz(logits=LOGITS), classes=["cat", "dog", "eel"])
    assert given.meta.classes == given.report["classes"] == ["cat", "dog", "eel"]
    counts = np.bincount(LOGITS.argmax(1), minlength=3).tolist()
    assert given.report["predicted"] == dict(zip(["cat", "dog", "eel"], counts, strict=True))
    figures = given.report["figures"]
    assert figures["min"] == LOGITS.min()
    assert figures["max"] == LOGITS.max()
    assert figures["mean"] == pytest.approx(LOGITS.mean(), abs=1e-6)


def test_probabilities_become_logarithms_with_a_warning(tmp_path: Path) -> None:
    shares = torch.from_numpy(LOGITS).softmax(1).numpy()
    shares[0] = 1, 0, 0
    given = accept(tmp_path / "x", npz(logits=shares))
    assert given.warnings() == ["probabilities"]
    assert np.allclose(torch.from_numpy(given.logits).softmax(1).numpy(), shares, atol=1e-6)
    assert np.isfinite(given.logits).all()
    shares[5] *= 1.01
    assert accept(tmp_path / "y", npz(logits=shares)).warnings() == []


def test_one_output_a_row_is_a_value(tmp_path: Path) -> None:
    given = accept(tmp_path / "x", npz(logits=np.ones((4, 1))))
    assert given.logits.tolist() == [[1.0]] * 4
    assert given.warnings() == []
    assert "predicted" not in given.report


def test_an_index_of_pandas_is_no_output(tmp_path: Path) -> None:
    lines = ["," + csv(None).decode().splitlines()[0]]
    lines += [f"{place},{line}" for place, line in enumerate(csv(None).decode().splitlines()[1:])]
    given = accept(tmp_path / "x", "\n".join(lines).encode())
    assert given.meta.num_outputs == 3
    assert given.warnings() == ["index_column"]


def test_names_of_files_can_be_ignored(tmp_path: Path) -> None:
    columns = {"file": [f"{place}.png" for place in range(6)], "a": LOGITS[:, 0], "b": LOGITS[:, 1]}
    refused = refuse(tmp_path / "x", parquet_of(columns), TASK)
    assert (refused.code, refused.pointers) == ("columns", ["/table/ignore"])
    assert "0.png" in refused.detail
    given = accept(tmp_path / "y", parquet_of(columns), table={"ignore": ["file"]})
    assert np.array_equal(given.logits, LOGITS[:, :2])


def test_settings_for_samples_are_told_of(tmp_path: Path) -> None:
    given = accept(tmp_path / "x", npz(logits=LOGITS), image={"channels": 1}, split={"seed": 1}, labels="partial")
    assert given.warnings() == ["unused"] * 3
    given = accept(tmp_path / "y", npz(logits=LOGITS), table={"target": "y", "categorical": ["a"]})
    assert given.warnings() == ["unused"] * 2


def test_broken_rows_are_bad_rows(tmp_path: Path) -> None:
    logits = LOGITS.astype(np.float64)
    logits[1, 0], logits[2, 1], logits[4, 2] = np.nan, np.inf, 1e39
    refused = refuse(tmp_path / "x", npz(logits=logits), TASK)
    assert (refused.code, refused.pointers) == ("bad_rows", ["/max_bad_share"])
    given = accept(tmp_path / "y", npz(logits=logits), max_bad_share=0.5)
    assert given.rows.tolist() == [0, 3, 5]
    assert [line["name"] for line in given.report["bad_rows"]["listed"]] == ["logits[1]", "logits[2]", "logits[4]"]
    assert given.report["bad_rows"]["share"] == 0.5


@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        ({"x": LOGITS}, "keys", "no array `logits`"),
        ({"logits": LOGITS[:, 0]}, "shapes", "(M, C)"),
        ({"logits": LOGITS[None]}, "shapes", "(M, C)"),
        ({"logits": np.full((6, 3), "a")}, "shapes", "numbers"),
        ({"logits": np.zeros((6, 0))}, "array", "no array of rows"),
        ({"logits": LOGITS.astype(object)}, "pickle", "never loaded"),
        ({"logits": LOGITS, "rows": np.arange(5)}, "pairs", "one row number"),
        ({"logits": LOGITS, "rows": np.zeros((6, 1), np.int64)}, "pairs", "one row number"),
        ({"logits": LOGITS, "rows": np.array([0, 1, 2, 3, 4, 4])}, "rows", "row 4 more than once"),
        ({"logits": LOGITS, "rows": np.arange(6) - 1}, "rows", "holds -1"),
        ({"logits": LOGITS, "rows": np.arange(6, dtype=np.uint64) + np.uint64(2**63)}, "rows", "run from 0"),
        ({"logits": LOGITS, "rows": np.arange(6) + 0.5}, "rows", "whole"),
        ({"logits": LOGITS, "rows": np.full(6, np.nan)}, "rows", "holds nan"),
        ({"logits": LOGITS, "rows": np.arange(6).astype(str)}, "rows", "whole numbers"),
        ({"logits": LOGITS, "rows": np.arange(6) > 2}, "rows", "whole numbers"),
        ({"logits": LOGITS[:0]}, "empty", "no rows"),
        ({"logits": LOGITS * np.nan}, "empty", "None of the 6 rows"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], code: str, words: str) -> None:
    refused = refuse(tmp_path / "x", npz(**arrays), TASK)
    assert refused.code == code
    assert words in refused.detail


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("row,a,b\n0,1,2\n0,3,4\n", "rows", "more than once"),
        ("row,a,b\n0,1,2\n,3,4\n", "rows", "holds nan"),
        ("row,a,b\n0,1,2\n1.5,3,4\n", "rows", "whole"),
        ("row,a,b\n0,1,2\nx,3,4\n", "columns", "holds text"),
        ("row,\n0,\n1,\n", "empty", "None of the 2 rows"),
        ("a,b\n1,2\n3\n4,5\n", "rows", "no longer tells its row"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, code: str, words: str) -> None:
    refused = refuse(tmp_path / "x", text.encode(), TASK, max_bad_share=0.5)
    assert refused.code == code
    assert words in refused.detail


def test_lost_lines_do_no_harm_where_rows_are_numbered(tmp_path: Path) -> None:
    given = accept(tmp_path / "x", b"row,a,b\n0,1,2\n1,3\n2,4,5\n", max_bad_share=0.5)
    assert given.rows.tolist() == [0, 2]
    assert given.logits.tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "b"], ["a", "b", "c", "d"]])
def test_classes_are_one_name_for_each_output(tmp_path: Path, classes: list[str]) -> None:
    refused = refuse(tmp_path / "x", npz(logits=LOGITS), TASK, classes=classes)
    assert (refused.code, refused.pointers) == ("classes", ["/classes"])


def test_limits_hold(tmp_path: Path) -> None:
    assert refuse(tmp_path / "x", npz(logits=LOGITS), TASK, Limits(max_canonical_bytes=71)).code == "too_large"
    assert refuse(tmp_path / "y", npz(logits=LOGITS), TASK, Limits(max_rows=5)).code == "too_large"


def test_row_numbers_alone_are_no_outputs(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", parquet_of({"row": np.arange(3)}), TASK)
    assert refused.code == "columns"
    assert "beside the row numbers" in refused.detail


def test_pictures_are_no_outputs(tmp_path: Path) -> None:
    refused = refuse(tmp_path / "x", zipped(folders()), TASK)
    assert (refused.code, refused.pointers) == ("task", ["/task"])

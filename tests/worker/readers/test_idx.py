"""Pairs of IDX files, packed as MNIST and its kin are shipped."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.worker.readers.uploads import IMAGES, accept, idx, noise, refuse, tarred, zipped

X, Y = noise(60, 6, 5), (np.arange(60) % 3).astype(np.uint8)
TRAIN = {"train-images-idx3-ubyte": idx(X), "train-labels-idx1-ubyte": idx(Y)}
TEST = {"t10k-images-idx3-ubyte": idx(X[:12]), "t10k-labels-idx1-ubyte": idx(Y[:12])}


def test_four_files_as_they_are_shipped(tmp_path: Path) -> None:
    packed = {f"raw/{name}.gz": gzip.compress(content) for name, content in (TRAIN | TEST).items()}
    for name, upload in (("zip", zipped(packed)), ("tar", tarred(packed)), ("gz", tarred(TRAIN | TEST, "gz"))):
        ready = accept(tmp_path / name, upload, IMAGES)
        assert ready.report["format"] == "idx"
        assert ready.meta.counts == {"train": 54, "val": 6, "test": 12}
        assert np.array_equal(ready.x[:60, 0], X)
        assert np.array_equal(ready.y, np.concatenate([Y, Y[:12]]))


def test_one_pair_is_cut_in_three(tmp_path: Path) -> None:
    ready = accept(tmp_path / "x", zipped({"images": idx(X), "labels": idx(Y)}), IMAGES)
    assert ready.meta.counts == {"train": 48, "val": 6, "test": 6}


def test_colour_and_names(tmp_path: Path) -> None:
    upload = zipped({"images": idx(noise(60, 6, 5, 3)), "labels": idx(Y)})
    ready = accept(tmp_path / "x", upload, IMAGES, classes=["shirt", "shoe", "bag"])
    assert ready.meta.input_shape == (3, 6, 5)
    assert ready.meta.classes == ["shirt", "shoe", "bag"]
    assert np.array_equal(ready.y, Y)


def test_other_types_of_number(tmp_path: Path) -> None:
    fractions = (X / 255).astype(">f4")
    content = struct.pack(">HBB3I", 0, 0x0D, 3, *X.shape) + fractions.tobytes()
    ready = accept(tmp_path / "x", zipped({"images": content, "labels": idx(Y)}), IMAGES)
    assert np.array_equal(ready.x[:, 0], X)


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"train-images": idx(X)}, "pairs", "train-images"),
        ({**TRAIN, "t10k-images": idx(X)}, "pairs", "do not pair up"),
        ({**TRAIN, "training-images": idx(X)}, "pairs", "same split"),
        ({"images": idx(X), "labels": idx(Y[:-1])}, "pairs", "60 images, labels 59 labels"),
        ({"images": idx(X)[:-1], "labels": idx(Y)}, "damaged", "cut short"),
        ({"images": struct.pack(">HBB3I", 0, 8, 3, 10**6, 100, 100), "labels": idx(Y)}, "damaged", "10000000000 bytes"),
        ({"images": b"\x00\x00\x08\x03" + bytes(4), "labels": idx(Y)}, "damaged", "no IDX header"),
        ({"images": idx(X), "labels": idx(Y), "val-images": idx(X), "val-labels": idx(Y[:-2])}, "pairs", "58 labels"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path: Path, files: dict[str, bytes], code: str, words: str) -> None:
    refused = refuse(tmp_path / "x", zipped(files), IMAGES)
    assert refused.code == code
    assert words in refused.detail


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    large = {"train-images-idx3-ubyte": idx(noise(600, 6, 5)), "train-labels-idx1-ubyte": idx(np.tile(Y, 10))}
    packed = {f"{name}.gz": gzip.compress(content)[:-20] for name, content in large.items()}
    refused = refuse(tmp_path / "x", zipped(packed), IMAGES)
    assert refused.code == "damaged"
    assert "train-images-idx3-ubyte.gz" in refused.detail

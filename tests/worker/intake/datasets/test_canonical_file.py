"""The file as safetensors itself reads it."""

import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from worker.intake.canonical_file import RawTensor, write_canonical


@pytest.mark.parametrize("shape", [(7, 3, 5, 2), (1, 1, 1, 1), (1000, 3, 11, 13), (5, 9)])
@pytest.mark.parametrize("target", ["int64", "float32"])
def test_what_is_written_is_read(tmp_path: Path, shape: tuple[int, ...], target: str) -> None:
    dtype = "uint8" if len(shape) == 4 else "float32"
    x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    y, split = np.arange(shape[0]).astype(target), (np.arange(shape[0]) % 3).astype(np.uint8)
    x.tofile(tmp_path / "raw")
    write_canonical(tmp_path / "file", RawTensor(tmp_path / "raw", dtype, shape), y, split)
    tensors = load_file(tmp_path / "file")
    for name, wanted in {"x": x, "y": y, "split": split}.items():
        assert tensors[name].dtype == wanted.dtype
        assert np.array_equal(tensors[name], wanted)
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.get_tensor("y").tolist() == y.tolist()
        assert tuple(file.get_slice("x").get_shape()) == shape


def test_tensors_lie_on_multiples_of_their_size(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(4 * 3 * 5))
    y, split = np.zeros(3, np.float32), np.zeros(3, np.uint8)
    write_canonical(tmp_path / "file", RawTensor(tmp_path / "raw", "float32", (3, 5)), y, split)
    [length] = struct.unpack("<Q", (tmp_path / "file").read_bytes()[:8])
    assert length % 8 == 0

"""torch's format from before 1.6: damage of every part is found before torch opens the file."""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import pytest
import torch

from core.errors import Rejected
from tests.worker.intake.teachers.makers import RESNET8, examine, resnet8, saved, verdict
from worker.intake.legacy import read_legacy


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(saved({"a": torch.arange(6.0), "b": torch.ones(2, dtype=torch.int64)}, legacy=True))
    return path


def _refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(Rejected) as caught:
        read_legacy(path)
    return caught.value.detail


def test_tensors_are_described(path: Path) -> None:
    found = read_legacy(path)
    assert {name: tensor.size for name, tensor in found.value.items()} == {"a": (6,), "b": (2,)}
    assert sorted(storage.nbytes for storage in found.storages.values()) == [16, 24]


@pytest.mark.parametrize("cut", [1, 8, 30, 60, 200])
def test_a_file_that_was_cut_off(path: Path, cut: int) -> None:
    assert "upload it anew" in _refused(path, path.read_bytes()[:-cut])


def test_bytes_after_the_last_storage(path: Path) -> None:
    assert "3 bytes follow" in _refused(path, path.read_bytes() + b"abc")


def test_a_storage_that_claims_another_length(path: Path) -> None:
    data = path.read_bytes().replace(struct.pack("<q", 6) + struct.pack("<f", 0.0), struct.pack("<qf", 5, 0.0))
    assert "not as long as its tensors need" in _refused(path, data)


def test_a_storage_that_no_tensor_has(path: Path) -> None:
    keys = sorted(read_legacy(path).storages)
    data = path.read_bytes()
    at = data.rindex(keys[0].encode())
    assert "does not fit its tensors" in _refused(path, data[:at] + b"0" + data[at + 1 :])


def test_another_version_and_another_byte_order(path: Path) -> None:
    data = path.read_bytes()
    other = data.replace(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xe8\x03.")
    assert "version is 1000" in _refused(path, other)
    big = data.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    assert big != data
    assert "byte order" in _refused(path, big)


def test_a_file_that_is_also_a_tar_archive(tmp_path: Path) -> None:
    """torch tries tar first, and its tar reader had holes: a file that passes as both is refused."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("x" * 50))
    block = bytearray(buffer.getvalue()[:512])
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    block[: len(magic)] = magic
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    assert verdict(examine(tmp_path, bytes(block) + bytes(1024), {"architecture": RESNET8}))[0] == "tar"


def test_views_into_one_storage_as_old_files_have_them(tmp_path: Path) -> None:
    """Files of torch 0.1 name a part of a storage; the tensor must lie within that part."""
    path = tmp_path / "upload"
    data = saved({"a": torch.arange(6.0)}, legacy=True)
    whole = b"K\x06Nt"
    assert data.count(whole) == 1
    view = b"K\x06(X\x01\x00\x00\x00vK\x02K\x04tt"
    assert "does not lie within its storage" in _refused(path, data.replace(whole, view))
    smaller = data.replace(whole, view).replace(b"K\x00K\x06\x85", b"K\x00K\x04\x85")
    path.write_bytes(smaller)
    assert read_legacy(path).value["a"].size == (4,)
    loaded = torch.load(path, weights_only=True)
    assert loaded["a"].tolist() == [2.0, 3.0, 4.0, 5.0]


def test_an_undamaged_file_of_a_network_is_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(saved(resnet8(), legacy=True))
    assert len(read_legacy(path).value) == len(resnet8())

"""Data sets beyond the memory for them: the same rows, batches and students, in bounded memory."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.errors import UserInput
from models.canonical import DatasetMeta
from tests.worker.engine import orders
from tests.worker.engine.conftest import Make, run
from tests.worker.engine.test_resume import StopAt, same
from worker.engine.data import StreamedSplit, load
from worker.engine.stop import Stopped

CPU = torch.device("cpu")


@pytest.mark.parametrize("make", [orders.digits, orders.digit_rows, orders.ink])
def test_rows_are_those_of_memory_down_to_their_places(make: Any, tmp_path: Path) -> None:
    tensors, meta = make()
    save_file(tensors, tmp_path / "data.safetensors")
    whole = load(tmp_path / "data.safetensors", meta, CPU, tensors["x"].nbytes)
    streamed = load(tmp_path / "data.safetensors", meta, CPU, tensors["x"].nbytes - 1)
    for name, split in streamed.items():
        assert isinstance(split, StreamedSplit)
        assert not isinstance(whole[name], StreamedSplit)
        batches, ours = split.shuffled(3, 1, 64), whole[name].shuffled(3, 1, 64)
        assert all(torch.equal(a, b) for a, b in zip(batches, ours, strict=True))
        for positions_B in [*batches, *split.in_order(50), torch.tensor([7, 7, 0])]:
            a, b = split.take(positions_B), whole[name].take(positions_B)
            assert torch.equal(a.raw, b.raw)
            assert a.raw.stride() == b.raw.stride()
            assert torch.equal(a.y, b.y)
            assert torch.equal(a.ids, b.ids)


def test_batches_may_be_taken_from_anywhere_twice_and_across_epochs(tmp_path: Path) -> None:
    tensors, meta = orders.digits()
    save_file(tensors, tmp_path / "data.safetensors")
    split = load(tmp_path / "data.safetensors", meta, CPU, 1)["train"]
    x = tensors["x"][split.ids]
    old = split.shuffled(0, 0, 32)
    for at in (5, 6, 5, 0, 18):
        assert torch.equal(split.take(old[at]).raw, x[old[at]])
    new = split.shuffled(0, 1, 32)
    for batch in (new[0], old[7], new[1], old[0]):
        assert torch.equal(split.take(batch).raw, x[batch])


@pytest.mark.parametrize("loss", [{"type": "kd"}, {"type": "hint"}])
def test_the_student_is_the_same_bit_for_bit_and_a_resumed_one_too(small: Make, tmp_path: Path, loss: Any) -> None:
    whole = run(small("whole", loss=loss), tmp_path / "whole").weights
    budget = {"data_memory_bytes": 1000}
    threads = threading.active_count()
    assert same(whole, run(small("streamed", loss=loss, order=budget), tmp_path / "streamed").weights)
    for at in (4, 9):
        with pytest.raises(Stopped):
            run(small("resumed", loss=loss, order=budget), tmp_path / "resumed", StopAt(at))
    assert same(whole, run(small("resumed", loss=loss, order=budget), tmp_path / "resumed").weights)
    assert threading.active_count() <= threads + 6


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors, meta = orders.digit_rows()
    tensors["x"][-1, 7] = torch.nan
    save_file(tensors, tmp_path / "data.safetensors")
    with pytest.raises(UserInput, match="not finite"):
        load(tmp_path / "data.safetensors", meta, CPU, 1)


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    tensors, meta = orders.digits()
    save_file(tensors, path)
    split = load(path, meta, CPU, 1)["train"]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(OSError, match="ends before"):
        split.take(torch.arange(len(split)))


def test_the_process_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    x = torch.arange(12_000, dtype=torch.int64)[:, None, None, None].expand(-1, 3, 32, 32).to(torch.uint8).contiguous()
    meta = DatasetMeta(task="image_classification", counts={"train": len(x)}, input_shape=(3, 32, 32), num_outputs=2)
    save_file({"x": x, "y": torch.zeros(len(x), dtype=torch.int64), "split": torch.zeros(len(x)).byte()}, path)
    size = x.nbytes
    del x
    split = load(path, meta, CPU, 2**20)["train"]
    before, most = held(), 0
    for epoch in range(2):
        for positions_B in split.shuffled(0, epoch, 64):
            raw = split.take(positions_B).raw
            assert torch.equal(raw[:, 1, 5, 7], positions_B.to(torch.uint8))
            most = max(most, held() - before)
    assert most < size / 4


def held() -> int:
    """Bytes that this process holds, of files as well."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

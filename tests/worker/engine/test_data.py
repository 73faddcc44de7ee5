"""The canonical data on the device, and the order of an epoch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import UserInput
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data
from worker.engine.data import Split, load

CPU = torch.device("cpu")


def make_split(n: int) -> Split:
    x, y = torch.arange(2 * n, dtype=torch.float32)[:, None], torch.arange(2 * n)
    return Split(x, y, torch.arange(1, 2 * n, 2), CPU)  # every second row


def test_the_splits_are_the_rows_of_the_file(tmp_path: Path, digits: Data) -> None:
    tensors, meta = digits
    save_file(tensors, tmp_path / "data.safetensors")
    splits = load(tmp_path / "data.safetensors", meta, CPU)
    for code, name in enumerate(("train", "val", "test")):
        chosen = tensors["split"] == code
        rows = splits[name].take(torch.arange(len(splits[name])))
        assert torch.equal(rows.raw, tensors["x"][chosen])
        assert torch.equal(rows.y, tensors["y"][chosen])
        assert torch.equal(splits[name].y, rows.y)
        assert torch.equal(rows.ids, chosen.nonzero().squeeze(1)), "the id of a sample is its row in the file"


@pytest.mark.parametrize(("n", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (3, 4, [3])])
def test_an_epoch_reads_every_row_once_and_leaves_no_row_alone(n: int, size: int, sizes: list[int]) -> None:
    split = make_split(n)
    batches = split.shuffled(0, 0, size)
    assert [len(batch) for batch in batches] == sizes
    assert split.num_batches(size) == len(sizes)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))


@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 4), (2, 1), (5, 1), (257, 256), (7, 3), (600, 64)])
def test_the_number_of_batches_is_known_before(n: int, size: int) -> None:
    assert make_split(n).num_batches(size) == len(make_split(n).shuffled(3, 1, size))


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    split = make_split(50)
    order = torch.cat(split.shuffled(1, 2, 8))
    torch.rand(5)  # the global generator has no say
    assert torch.equal(order, torch.cat(split.shuffled(1, 2, 25)))
    assert not torch.equal(order, torch.cat(split.shuffled(1, 3, 8)))
    assert not torch.equal(order, torch.cat(split.shuffled(2, 2, 8)))


def test_reading_in_order_has_a_short_last_batch() -> None:
    assert [len(batch) for batch in make_split(10).in_order(4)] == [4, 4, 2]


def test_a_data_set_without_training_rows_is_refused(tmp_path: Path) -> None:
    tensors, meta = orders.digits()
    save_file({**tensors, "split": torch.ones_like(tensors["split"])}, tmp_path / "data.safetensors")
    with pytest.raises(UserInput, match="no training rows"):
        load(tmp_path / "data.safetensors", meta, CPU)


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors, meta = orders.digit_rows()
    tensors["x"][5, 7] = torch.nan
    save_file(tensors, tmp_path / "data.safetensors")
    with pytest.raises(UserInput, match="not finite"):
        load(tmp_path / "data.safetensors", meta, CPU)

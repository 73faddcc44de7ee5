"""Evaluation of whole splits."""

import pytest
import torch
from torch import nn

from tests.worker.engine.test_data import make_split
from worker.engine.evaluate import batch_rows, predict
from worker.engine.normalise import as_it_is


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def test_every_row_is_scored_in_order_the_last_batch_included() -> None:
    net, split = network(), make_split(300)
    looks: list[int] = []
    logits = predict(net, split, as_it_is, 64, lambda: looks.append(1))
    assert len(looks) == 2  # batches of 256
    with torch.no_grad():
        expected = net.eval()(split.take(torch.arange(300)).raw)
    torch.testing.assert_close(logits, expected)


def test_the_network_is_as_it_was_before() -> None:
    net = network().train()
    net[1].eval()  # a part that someone froze stays so
    before = {name: x.clone() for name, x in net.state_dict().items()}
    predict(net, make_split(10), as_it_is, 4, lambda: None)
    assert [part.training for part in net] == [True, False, True, True]
    assert net.training
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())


def test_it_may_be_interrupted_and_leaves_the_network_in_training() -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    net = network().train()
    with pytest.raises(Enough):
        predict(net, make_split(10), as_it_is, 4, enough)
    assert all(part.training for part in net.modules())


@pytest.mark.parametrize(("batch", "rows"), [(1, 4), (16, 64), (64, 256), (128, 256), (512, 512)])
def test_batches_are_larger_than_in_training(batch: int, rows: int) -> None:
    assert batch_rows(batch) == rows

"""The teacher: asked once, never changed, in the data set's terms."""

import math
from pathlib import Path

import pytest
import torch

from core.errors import UserInput
from models.canonical import DatasetMeta
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Make, Taught, run
from worker.engine import cache
from worker.engine.networks import Network
from worker.engine.taps import Tapped
from worker.engine.teacher import TorchTeacher, load_network
from worker.engine.wiring import wire

CPU = torch.device("cpu")


def test_it_is_frozen_and_in_evaluation_mode(make: Make, tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    make()
    network = load_network(tmp_path / "work" / "teachers" / "tch_1.safetensors", image_teacher[1], digits[1], CPU)
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())


def test_training_does_not_change_it(make: Make, tmp_path: Path, image_teacher: Taught) -> None:
    order = make(train={"epochs": 1, "augment": {"crop": 1}}, loss=[{"type": "kd"}, {"type": "hint"}])
    trained = run(order, tmp_path / "work")
    module = trained.parts.teacher._call._tapped.module  # type: ignore[attr-defined]
    state = module.state_dict()
    assert all(torch.equal(state[name].contiguous(), x) for name, x in image_teacher[0].items())


class Counted(torch.nn.Module):
    """Counts the rows that go through a network."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows += len(x) if x.device.type == "cpu" else 0  # counting operations computes nothing
        out: torch.Tensor = self.inner(x)
        return out


@pytest.mark.parametrize(("augment", "epochs", "expected"), [("none", 4, 600), ("none", 1, 600), ("crop", 2, 1200)])
def test_it_sees_each_training_picture_once(
    make: Make, tmp_path: Path, augment: str, epochs: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Counted] = []

    def load_counted(*args: object) -> Network:
        network = load_network(*args)  # type: ignore[arg-type]
        counted.append(Counted(network.module))
        return Network(counted[0], f"inner.{network.head}", [f"inner.{stage}" for stage in network.stages])

    monkeypatch.setattr("worker.engine.sources.stored.load_network", load_counted)
    chosen = {"crop": 1} if augment == "crop" else augment
    run(make(train={"epochs": epochs, "augment": chosen}), tmp_path / "work")
    dry, val, test = 4, 150, 150
    assert counted[0].rows - dry - val - test == expected


def test_kept_outputs_are_those_that_it_would_give(make: Make, tmp_path: Path) -> None:
    order = make(loss=[{"type": "hint"}, {"type": "similarity"}])
    parts = wire(order, tmp_path / "work", CPU)
    split = parts.splits["train"]
    kept = cache.Filling(parts.teacher, split, cache.Way(128, CPU), lambda: None).kept()
    at = torch.tensor([5, 500, 17])
    live, looked_up = parts.teacher(split.take(at)), kept.take(at)
    torch.testing.assert_close(looked_up.logits, live.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(looked_up.embedding, live.embedding, rtol=1e-4, atol=1e-4)
    assert looked_up.features.keys() == live.features.keys()
    for name, feature in live.features.items():
        torch.testing.assert_close(looked_up.features[name], feature.float(), rtol=1e-4, atol=1e-4)


def test_outputs_that_are_too_large_are_not_kept(make: Make, tmp_path: Path) -> None:
    dry = wire(make(loss={"type": "hint"}), tmp_path / "work", CPU).student.heard["teacher"].dry
    row = 4 * (10 + sum(feature[0].numel() for feature in dry.features.values()))
    assert cache.fits(dry, cache.MAX_BYTES // row)
    assert not cache.fits(dry, cache.MAX_BYTES // row + 1)


def test_probabilities_become_logits(image_teacher: Taught) -> None:
    class Softmax(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    record = image_teacher[1].model_copy(update={"output_kind": "probabilities"})
    call = TorchTeacher(Tapped(Network(Softmax(), "")), record)
    p = torch.tensor([[0.7, 0.3, 0.0]])
    logits = call(p).logits
    torch.testing.assert_close(logits.softmax(1), p, atol=1e-6, rtol=0)
    assert logits[0, 2] == pytest.approx(math.log(1e-12))


def test_weights_that_do_not_fit_the_data_are_refused(
    tmp_path: Path, digits: Data, row_teacher: Taught, image_teacher: Taught
) -> None:
    rows, meta = orders.digit_rows()
    fewer: DatasetMeta = meta.model_copy(update={"input_shape": (32,)})
    orders.make_workdir(tmp_path, (rows, meta), row_teacher, orders.spec())
    with pytest.raises(UserInput, match="do not fit"):
        load_network(tmp_path / "teachers" / "tch_1.safetensors", row_teacher[1], fewer, CPU)

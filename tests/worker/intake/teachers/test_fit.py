"""Weights that do not fit are listed and the nearest architecture is named; those that do are described truly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.spec.students import MLP, Layers, Timm
from models.spec.text_students import Bert
from tests.worker.intake.teachers.makers import RESNET8, examine, meta_of, pointers, resnet8, saved, verdict
from worker.engine.networks import build_network


def test_missing_unexpected_and_misshapen_weights_are_listed(tmp_path: Path) -> None:
    weights = resnet8()
    del weights["layer2.0.conv1.weight"]
    weights["extra.bias"] = torch.ones(3)
    weights["bn1.weight"] = torch.ones(17)
    result = examine(tmp_path, saved(weights), {"architecture": RESNET8})
    code, detail = verdict(result)
    assert code == "does_not_fit"
    assert result.report["missing"] == ["layer2.0.conv1.weight"]
    assert result.report["unexpected"] == ["extra.bias"]
    assert result.report["misshapen"] == [{"name": "bn1.weight", "expected": [16], "found": [17]}]
    assert "layer2.0.conv1.weight" in detail
    assert "bn1.weight should be [16] and is [17]" in detail
    assert pointers(result) == ["/architecture"]
    assert not list((tmp_path / "out").iterdir())


def test_the_wrong_depth_is_answered_with_the_right_one(tmp_path: Path) -> None:
    result = examine(tmp_path, saved(resnet8()), {"architecture": {"type": "resnet", "depth": 20}})
    code, detail = verdict(result)
    assert code == "does_not_fit"
    assert "nearest architecture on the menu is resnet depth 8" in detail


def test_another_family_is_answered_with_the_right_one(tmp_path: Path) -> None:
    result = examine(tmp_path, saved(resnet8()), {"architecture": {"type": "vgg", "depth": 8}})
    assert verdict(result)[0] == "does_not_fit"
    assert "resnet depth 8" in verdict(result)[1]


def test_names_of_another_repository_fit_after_a_rename(tmp_path: Path) -> None:
    weights = {name.replace("fc.", "linear."): tensor for name, tensor in resnet8().items()}
    assert "linear.weight" in verdict(examine(tmp_path / "a", saved(weights), {"architecture": RESNET8}))[1]
    spec = {"architecture": RESNET8, "rename": [["^linear", "fc"]]}
    result = examine(tmp_path / "b", saved(weights), spec)
    meta_of(result)
    assert result.report["renamed"] == {"linear.weight": "fc.weight", "linear.bias": "fc.bias"}


@pytest.mark.parametrize(("num_outputs", "channels"), [(10, 3), (100, 1), (2, 4)])
def test_classes_and_channels_are_read_off_the_weights(tmp_path: Path, num_outputs: int, channels: int) -> None:
    meta = meta_of(examine(tmp_path, saved(resnet8(num_outputs, channels)), {"architecture": RESNET8}))
    assert (meta.num_outputs, meta.input_shape[0]) == (num_outputs, channels)


def _layers(size: int) -> dict[str, Any]:
    return {
        "type": "layers",
        "layers": [{"type": "conv", "out": 4}, {"type": "relu"}, {"type": "flatten"}, {"type": "linear", "out": size}],
    }


@pytest.mark.parametrize("side", [28, 8])
def test_the_image_size_of_a_network_that_takes_one_alone_is_found(tmp_path: Path, side: int) -> None:
    spec = _layers(16)
    network = build_network(Layers.model_validate(spec), (3, side, side), 5)
    meta = meta_of(examine(tmp_path, saved(network.module.state_dict()), {"architecture": spec}))
    assert meta.input_shape == (3, side, side)
    assert meta.input.size == (side, side)


def test_an_unusual_image_size_has_to_be_said(tmp_path: Path) -> None:
    spec = _layers(16)
    upload = saved(build_network(Layers.model_validate(spec), (3, 20, 24), 5).module.state_dict())
    assert verdict(examine(tmp_path / "a", upload, {"architecture": spec}))[0] == "does_not_fit"
    meta = meta_of(examine(tmp_path / "b", upload, {"architecture": spec, "input": {"size": [20, 24]}}))
    assert meta.input_shape == (3, 20, 24)


def test_a_perceptron_on_rows(tmp_path: Path) -> None:
    network = build_network(MLP(hidden=[32, 16]), (14,), 2)
    spec = {"architecture": {"type": "mlp", "hidden": [32, 16]}, "classes": ["no", "yes"], "accuracy": 0.85}
    meta = meta_of(examine(tmp_path, saved(network.module.state_dict()), spec))
    assert (meta.input_shape, meta.num_outputs, meta.classes) == ((14,), 2, ["no", "yes"])
    assert (meta.accuracy, meta.input.size) == (0.85, None)
    assert meta.flops == 2 * (14 * 32 + 32 * 16 + 16 * 2)
    assert meta.parameters == 14 * 32 + 32 + 32 * 16 + 16 + 16 * 2 + 2


def test_one_output_is_a_value(tmp_path: Path) -> None:
    network = build_network(MLP(hidden=[4]), (3,), 1)
    spec: dict[str, Any] = {"architecture": {"type": "mlp", "hidden": [4]}}
    assert meta_of(examine(tmp_path, saved(network.module.state_dict()), spec)).output_kind == "values"


def test_a_network_of_timm_says_its_own_input(tmp_path: Path) -> None:
    timm = {"type": "timm", "name": "vit_tiny_patch16_224", "kwargs": {"depth": 1, "img_size": 64}}
    from models.spec.students import Timm

    network = build_network(Timm.model_validate(timm), (3, 64, 64), 7)
    spec = {"architecture": timm, "input": {"preset": "timm"}}
    meta = meta_of(examine(tmp_path, saved(network.module.state_dict()), spec))
    assert meta.input.size == (64, 64)
    assert (meta.input.mean, meta.input.std) == ([0.5] * 3, [0.5] * 3)
    assert meta.input_shape == (3, 64, 64)
    assert meta.num_outputs == 7


def test_an_architecture_that_timm_does_not_know(tmp_path: Path) -> None:
    spec = {"architecture": {"type": "timm", "name": "resnet1"}}
    result = examine(tmp_path, saved(resnet8()), spec)
    assert "resnet1" in verdict(result)[1]


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"classes": ["a", "b"]}, "/classes"),
        ({"outputs": "probabilities"}, "/outputs"),
        ({"input": {"layout": "NHWC"}}, "/input/layout"),
        ({"input": {"preset": "mnist", "mean": [0.1, 0.2]}}, "/input/mean"),
        ({"input": {"mean": [0.1, 0.2, 0.3]}}, "/input/std"),
        ({"input": {"preset": "timm"}}, "/input/preset"),
        ({"input": {"range": [1.0, 0.0]}}, "/input/range"),
    ],
)
def test_what_the_user_says_has_to_fit(tmp_path: Path, said: dict[str, Any], pointer: str) -> None:
    result = examine(tmp_path, saved(resnet8()), {"architecture": RESNET8, **said})
    verdict(result)
    assert pointers(result) == [pointer]
    assert result.file is None


def test_stages_that_lie_channels_last_are_told_channels_first(tmp_path: Path) -> None:
    """As the engine hands them out, so that what validate pairs is what a job pairs."""
    windows = {"patch_size": 2, "window_size": 2, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]}
    given = {"type": "timm", "name": "swin_tiny_patch4_window7_224", "kwargs": {**windows, "img_size": 8}}
    network = build_network(Timm.model_validate(given), (3, 8, 8), 4)
    meta = meta_of(examine(tmp_path, saved(network.module.state_dict()), {"architecture": given}))
    shapes = {tap.name: tap.shape for tap in meta.taps}
    assert [shapes[stage] for stage in network.stages] == [[12, 4, 4], [24, 2, 2]]


def test_a_bert_checkpoint_of_hugging_face_fits_and_its_vocabulary_is_read_off(tmp_path: Path) -> None:
    architecture = Bert(layers=1, hidden=16, max_positions=20)
    weights = build_network(architecture, (37, 9), 3).module.state_dict()
    spec = {"architecture": {"type": "bert", "layers": 1, "hidden": 16, "max_positions": 20}}
    old = {"bert.embeddings.position_ids": torch.arange(20)[None], **weights}
    result = examine(tmp_path / "old", saved(old), spec)
    meta = meta_of(result)
    assert (meta.input_shape, meta.num_outputs) == ((37, -1), 3)
    assert meta.architecture == architecture
    names = [tap.name for tap in meta.taps]
    assert {"bert.encoder.layer.0", "bert.encoder.layer.0.attention.self.joined", "bert.pooler"} <= set(names)
    assert result.report["stages"] == ["bert.encoder.layer.0"]

    older = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
             for name, tensor in weights.items()}  # fmt: skip
    assert verdict(examine(tmp_path / "older", saved(older), spec))[0] == "does_not_fit"
    renamed = {**spec, "rename": [[r"\.gamma$", ".weight"], [r"\.beta$", ".bias"]]}
    assert meta_of(examine(tmp_path / "renamed", saved(older), renamed)) == meta

    wrong = examine(tmp_path / "wrong", saved(weights), {"architecture": {"type": "bert", "layers": 2, "hidden": 16}})
    assert "nearest architecture on the menu is bert layers 1 hidden 16 max_positions 20" in verdict(wrong)[1]
    bare = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    assert "classifier.weight" in verdict(examine(tmp_path / "bare", saved(bare), spec))[1]

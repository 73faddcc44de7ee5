"""What is particular to one family: its sizes, its options, and how it refuses."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from core.errors import UserConfig
from models.spec.students import Architecture, Student
from worker.engine.networks import build_network, count_parameters, infer_io


def student(**fields: Any) -> Student:
    made: Student = TypeAdapter[Any](Architecture).validate_python(fields)
    return made


def refusal(in_shape: tuple[int, ...] = (3, 32, 32), **fields: Any) -> tuple[str, str]:
    """The pointer and the sentence of the one fault."""
    with pytest.raises(UserConfig) as caught:
        build_network(student(**fields), in_shape, 10)
    (problem,) = caught.value.errors
    return problem.pointer, problem.message


def conv(out: int, **fields: Any) -> dict[str, Any]:
    return {"type": "conv", "out": out, **fields}


def test_shortcut_a_adds_zero_channels_on_both_sides_and_skips_places() -> None:
    net = build_network(student(type="resnet", depth=8, shortcut="A"), (1, 9, 9), 10).module
    shortcut = net.get_submodule("layer2.0.downsample")
    assert count_parameters(shortcut) == 0
    x = torch.arange(16.0 * 81).reshape(1, 16, 9, 9)
    out = shortcut(x)
    assert out.shape == (1, 32, 5, 5)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert out[:, :8].count_nonzero() == out[:, 24:].count_nonzero() == 0


@pytest.mark.parametrize(("width", "stem", "channels"), [(1, None, 16), (4, None, 32), (4, 16, 16), (2, 8, 8)])
def test_the_stem_is_16_at_width_1_and_else_32(width: int, stem: int | None, channels: int) -> None:
    net = build_network(student(type="resnet", depth=8, width=width, stem=stem), (3, 8, 8), 10).module
    first = net.get_submodule("conv1")
    assert isinstance(first, nn.Conv2d)
    assert first.out_channels == channels


def test_shortcut_a_cannot_drop_channels() -> None:
    where, why = refusal(type="resnet", depth=8, stem=64, shortcut="A")
    assert where == "/student/stem"
    assert "at most 16, got 64" in why
    build_network(student(type="resnet", depth=8, stem=64, shortcut="B"), (3, 8, 8), 10)


@pytest.mark.parametrize(("size", "last"), [(8, 1), (28, 3), (32, 4), (64, 4), (96, 6)])
def test_vgg_pools_a_fourth_time_only_where_the_map_is_large(size: int, last: int) -> None:
    net = build_network(student(type="vgg", depth=8), (1, size, size), 10)
    seen: list[torch.Size] = []
    net.module.get_submodule("block4").register_forward_hook(lambda _module, _given, out: seen.append(out.shape))
    net.module.eval()(torch.zeros(1, 1, size, size))
    assert seen[0][2:] == (last, last)


def test_vgg_says_how_small_is_too_small() -> None:
    assert refusal((1, 7, 28), type="vgg", depth=8)[1].endswith("needs at least 8x8, the data has 7x28")


def test_mobilenet_says_how_narrow_is_too_narrow() -> None:
    where, why = refusal(type="mobilenetv2", width=0.05)
    assert where == "/student/width"
    assert "at least 0.0625" in why
    build_network(student(type="mobilenetv2", width=0.0625), (1, 8, 8), 10)


def test_dropout_comes_after_what_is_tapped() -> None:
    net = build_network(student(type="mlp", hidden=[64], dropout=0.9), (8,), 3)
    seen: list[torch.Tensor] = []
    net.module.get_submodule("hidden.0").register_forward_hook(lambda _module, _given, out: seen.append(out))
    x = torch.randn(2, 8)
    net.module(x)
    net.module(x)
    assert torch.equal(seen[0], seen[1])
    assert net.module.training


def test_an_mlp_without_hidden_layers_is_a_linear_model() -> None:
    net = build_network(student(type="mlp", hidden=[]), (1, 4, 4), 3)
    assert count_parameters(net.module) == 17 * 3
    assert net.stages == []


def test_a_network_that_no_machine_holds_is_refused_without_being_made() -> None:
    where, why = refusal(type="resnet", depth=1202, width=32)
    assert where == "/student"
    assert "2e+10 parameters" in why


def test_a_list_of_layers_computes_what_it_says() -> None:
    layers = [conv(4, kernel=3, padding=1), {"type": "relu"}, {"type": "max_pool"}, {"type": "global_pool"}]
    net = build_network(student(type="layers", layers=layers), (1, 6, 6), 2).module
    state = net.state_dict()
    x = torch.randn(3, 1, 6, 6)
    maps = nn.functional.conv2d(x, state["layers.0.weight"], state["layers.0.bias"], padding=1)
    pooled = nn.functional.max_pool2d(maps.relu(), 2).mean((2, 3))
    expected = nn.functional.linear(pooled, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(net(x), expected)


def test_without_activations_the_stages_are_convolutions_and_linear_layers() -> None:
    chosen = student(type="layers", layers=[conv(4), {"type": "flatten"}, {"type": "linear", "out": 3}])
    assert build_network(chosen, (1, 6, 6), 2).stages == chosen.stage_names() == ["layers.0", "layers.2"]
    chosen = student(type="layers", layers=[{"type": "flatten"}])
    assert build_network(chosen, (1, 6, 6), 2).stages == chosen.stage_names() == []


@pytest.mark.parametrize(
    ("layers", "in_shape", "at", "words"),
    [
        ([conv(4), conv(4)], (14,), 0, "layer 0 (conv) cannot take its input of shape [14]: it needs a map"),
        ([{"type": "linear", "out": 4}, {"type": "max_pool"}], (1, 8, 8), 1, "layer 1 (max_pool) cannot take"),
        ([{"type": "global_pool"}, {"type": "global_pool"}], (3, 8, 8), 1, "input of shape [3]: it needs a map"),
        ([conv(6, groups=2)], (3, 8, 8), 0, "groups 2 must divide both its 3 input channels and its 6 outputs"),
        ([conv(6, kernel=9, padding=0)], (3, 8, 8), 0, "its kernel of 9 is larger than the map with 0 of padding"),
        ([{"type": "avg_pool", "kernel": 5}] * 2, (3, 8, 8), 1, "input of shape [3, 1, 1]: its kernel of 5"),
    ],
)
def test_layers_that_do_not_fit_are_named_with_their_shapes(
    layers: list[dict[str, Any]], in_shape: tuple[int, ...], at: int, words: str
) -> None:
    where, why = refusal(in_shape, type="layers", layers=layers)
    assert where == f"/student/layers/{at}"
    assert words in why


@pytest.mark.parametrize("layers", [[{"type": "global_pool"}, {"type": "linear", "out": 3}], [{"type": "flatten"}]])
def test_layers_that_mix_places_first_say_their_features(layers: list[dict[str, Any]]) -> None:
    chosen = student(type="layers", layers=layers)
    net = build_network(chosen, (3, 4, 4), 2).module
    features = 3 if layers[0]["type"] == "global_pool" else 48
    assert infer_io(chosen, {name: tuple(x.shape) for name, x in net.state_dict().items()}) == (features, 2)

"""Features and embeddings by module path."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.spec.students import ResNet
from worker.engine.networks import Network, build_network
from worker.engine.taps import Tapped, modules_by_path


def resnet() -> Network:
    torch.manual_seed(0)
    network = build_network(ResNet(depth=8), (1, 8, 8), 10)
    network.module.eval()
    return network


X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_features_and_embedding_are_what_the_layers_computed() -> None:
    network = resnet()
    outputs = Tapped(network, ["layer1", "layer3"], embedding=True)(X)
    assert {name: tuple(f.shape) for name, f in outputs.features.items()} == {
        "layer1": (3, 16, 8, 8), "layer3": (3, 64, 2, 2),
    }  # fmt: skip
    assert outputs.embedding is not None
    head = network.module.get_submodule(network.head)
    assert torch.equal(head(outputs.embedding), outputs.logits)
    torch.testing.assert_close(outputs.features["layer3"].mean((2, 3)), outputs.embedding)
    assert outputs.embedding.requires_grad


def test_nothing_is_kept_from_one_call_to_the_next_nor_after_closing() -> None:
    network = resnet()
    tapped = Tapped(network, ["layer1"], embedding=True)
    first = tapped(X)
    assert not torch.equal(first.features["layer1"], tapped(X + 1).features["layer1"])
    tapped.close()
    closed = tapped(X)
    assert closed.features == {}
    assert closed.embedding is None


def test_wrapping_does_not_change_the_names() -> None:
    network = resnet()
    bare = Tapped(network, ["layer2.0.conv1"], embedding=True)(X)
    parallel = Network(nn.DataParallel(network.module), network.head, network.stages)
    wrapped = Tapped(parallel, ["layer2.0.conv1"], embedding=True)(X)
    torch.testing.assert_close(wrapped.features["layer2.0.conv1"], bare.features["layer2.0.conv1"])
    torch.testing.assert_close(wrapped.embedding, bare.embedding)


def test_compiling_does_not_change_the_names() -> None:
    plain = {"layer1", "layer3.0.conv1", "fc"}
    compiled = torch.compile(resnet().module, backend="eager")
    assert isinstance(compiled, nn.Module)
    assert plain <= modules_by_path(compiled).keys()
    part = resnet().module
    inner = torch.compile(part.get_submodule("layer1"), backend="eager")
    assert isinstance(inner, nn.Module)
    part.add_module("layer1", inner)
    assert plain | {"layer1.0.bn2"} <= modules_by_path(part).keys()


class InPlace(nn.Module):
    """A layer whose output the next one overwrites, as many published networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(F.relu(self.first(x), inplace=True))
        return out


def test_a_tap_that_is_overwritten_in_place_still_gives_its_own_output() -> None:
    module = InPlace()
    x = torch.randn(6, 4)
    expected = module.first(x)
    assert (expected < 0).any()
    tapped = Tapped(Network(module, "head"), ["first"])
    assert not torch.equal(tapped(x).features["first"], expected), "without a look at it first, it is lost"
    tapped.copy_what_changes(x)
    assert torch.equal(tapped(x).features["first"], expected)


def test_the_first_of_several_outputs_is_the_feature() -> None:
    module = nn.Sequential()
    module.add_module("lstm", nn.LSTM(3, 4, batch_first=True))
    tapped = Tapped(Network(module, "lstm"), ["lstm"])
    with torch.no_grad():
        feature = tapped(torch.randn(2, 5, 3)).features["lstm"]
    assert feature.shape == (2, 5, 4)


def test_an_unknown_path_is_not_there() -> None:
    with pytest.raises(KeyError):
        Tapped(resnet(), ["layer9"])

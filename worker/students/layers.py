"""A declared list of layers, in order, with a linear head at the end.

Each layer is checked as it is added, so that a list that does not fit together is refused with the layer and the shape
it would have got. A linear layer, and the head, flatten what they get.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, ...]
#: A layer, and the shape of what it gives for one sample.
Made = tuple[nn.Module, Shape]

# Out of place, all of them: any layer's output may be tapped.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "hardswish": nn.Hardswish,
}


class FlatLinear(nn.Linear):
    """A linear layer on flattened input."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, out)."""
        return super().forward(x.flatten(1))


class GlobalPool(nn.Module):
    """The mean over height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C)."""
        # A pool and not x.mean((2, 3)): its gradient lies as the map does, in its order of channels and places.
        return F.avg_pool2d(x, x.shape[2:]).flatten(1)


class Layers(nn.Module):
    """The layers, then the head."""

    def __init__(self, layers: list[nn.Module], features: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, outputs)."""
        logits: Tensor = self.head(self.layers(x).flatten(1))
        return logits


def _conv(layer: Mapping[str, Any], shape: Shape) -> Made:
    channels, height, width = _map(shape)
    kernel, stride, groups, out = layer["kernel"], layer["stride"], layer["groups"], layer["out"]
    padding = kernel // 2 if layer["padding"] is None else layer["padding"]
    if channels % groups or out % groups:
        raise ValueError(f"groups {groups} must divide both its {channels} input channels and its {out} outputs")
    module = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=layer["bias"])
    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return module, (out, *_sizes((height, width), kernel, stride, padding))


def _linear(layer: Mapping[str, Any], shape: Shape) -> Made:
    module = FlatLinear(prod(shape), layer["out"], bias=layer["bias"])
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return module, (layer["out"],)


def _batch_norm(_layer: Mapping[str, Any], shape: Shape) -> Made:
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0]), shape


def _max_pool(layer: Mapping[str, Any], shape: Shape) -> Made:
    kernel, stride = layer["kernel"], layer["stride"] or layer["kernel"]
    channels, *size = _map(shape)
    return nn.MaxPool2d(kernel, stride), (channels, *_sizes(size, kernel, stride, 0))


def _avg_pool(layer: Mapping[str, Any], shape: Shape) -> Made:
    kernel, stride = layer["kernel"], layer["stride"] or layer["kernel"]
    channels, *size = _map(shape)
    return nn.AvgPool2d(kernel, stride), (channels, *_sizes(size, kernel, stride, 0))


def _global_pool(_layer: Mapping[str, Any], shape: Shape) -> Made:
    return GlobalPool(), (_map(shape)[0],)


def _flatten(_layer: Mapping[str, Any], shape: Shape) -> Made:
    return nn.Flatten(), (prod(shape),)


def _dropout(layer: Mapping[str, Any], shape: Shape) -> Made:
    return nn.Dropout(layer["p"]), shape


LAYERS: dict[str, Callable[[Mapping[str, Any], Shape], Made]] = {
    "conv": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_pool": _global_pool,
    "flatten": _flatten,
    "dropout": _dropout,
}


def _map(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError("it needs a map (channels, height, width)")
    return shape[0], shape[1], shape[2]


def _sizes(size: Sequence[int], kernel: int, stride: int, padding: int) -> list[int]:
    """What is left of a map's height and width."""
    if min(size) + 2 * padding < kernel:
        raise ValueError(f"its kernel of {kernel} is larger than the map with {padding} of padding on each side")
    return [(length + 2 * padding - kernel) // stride + 1 for length in size]


def _make(layer: Mapping[str, Any], shape: Shape) -> Made:
    kind = layer["type"]
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind](), shape
    return LAYERS[kind](layer, shape)


def build(in_shape: Shape, num_outputs: int, *, layers: Sequence[Mapping[str, Any]]) -> Layers:
    """The network for one input of `in_shape`: (channels, height, width) or (features,)."""
    made: list[nn.Module] = []
    shape = tuple(in_shape)
    for at, layer in enumerate(layers):
        try:
            module, shape = _make(layer, shape)
        except ValueError as error:
            sentence = f"layer {at} ({layer['type']}) cannot take its input of shape {list(shape)}: {error}"
            raise ValueError(sentence, f"layers/{at}") from error
        made.append(module)
    return Layers(made, prod(shape), num_outputs)


def head(_net: nn.Module) -> str:
    """Path of the last linear layer."""
    return "head"


def stages(net: Layers) -> list[str]:
    """Paths of the activations; of the convolutions and linear layers where there is no activation."""
    for kinds in (tuple(ACTIVATIONS.values()), (nn.Conv2d, nn.Linear)):
        if found := [f"layers.{at}" for at, layer in enumerate(net.layers) if isinstance(layer, kinds)]:
            return found
    return []


def infer(shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels or features, and outputs, off a state_dict's shapes."""
    outputs, features = shapes["head.weight"][0], shapes["head.weight"][1]
    for at, layer in enumerate(config["layers"]):
        if layer["type"] == "conv":
            return shapes[f"layers.{at}.weight"][1] * layer["groups"], outputs
        if layer["type"] in {"linear", "batch_norm"}:
            return shapes[f"layers.{at}.weight"][-1], outputs
    return features, outputs

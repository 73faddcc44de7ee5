"""Of worker/students/layers.py."""

from models.spec.layers import BatchNorm, Conv, Layer, Linear
from models.spec.students import Layers
from models.walk import Walk


def walk(at: Walk, student: Layers, num_outputs: int) -> None:
    """Layer by layer, then the head."""
    for layer in student.layers:
        _layer(at, layer)
    at.linear(num_outputs)


def _layer(at: Walk, layer: Layer) -> None:
    match layer:
        case Conv():
            at.conv(layer.out, layer.kernel, layer.stride, padding=layer.padding, groups=layer.groups, bias=layer.bias)
        case Linear():
            at.linear(layer.out, bias=layer.bias)
        case BatchNorm():
            at.norm()
        case _:
            at.shape = layer.gives(at.shape)

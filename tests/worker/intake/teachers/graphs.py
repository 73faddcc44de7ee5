"""Small ONNX graphs, made node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str]


def tensor(name: str, values: object, dtype: npt.DTypeLike = np.float32) -> onnx.TensorProto:
    """A stored tensor."""
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def weights(name: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    """Stored noise."""
    return tensor(name, np.random.default_rng(seed).standard_normal(shape))


def graph(
    nodes: Sequence[onnx.NodeProto],
    stored: Sequence[onnx.TensorProto],
    x: Dims = ("N", 4),
    outputs: Sequence[tuple[str, Dims]] = (("y", ("N", 3)),),
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model with the input `x`."""
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs],
        stored,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="test")


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node; `inputs` are names with spaces between."""
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def linear(batch: int | str = "N", then: Sequence[onnx.NodeProto] = (), last: str = "z") -> onnx.ModelProto:
    """Four features, a hidden layer `h` of five with ReLU `a`, three scores `z`; `then` follows."""
    nodes = [
        node("Gemm", "x W1 b1", "h"),
        node("Relu", "h", "a"),
        node("Gemm", "a W2 b2", "z"),
        *then,
    ]
    stored = [weights("W1", 4, 5), weights("b1", 5, seed=1), weights("W2", 5, 3, seed=2), weights("b2", 3, seed=3)]
    return graph(nodes, stored, (batch, 4), [(last, (batch, 3))])


def images(batch: int | str = "N", size: Dims = (8, 8), *, channels_last: bool = False) -> onnx.ModelProto:
    """A convolution, a ReLU, a mean over places, three scores."""
    nodes = [
        node("Conv", "c W", "m", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Relu", "m", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f V", "y"),
    ]
    first = node("Transpose", "x", "c", perm=[0, 3, 1, 2]) if channels_last else node("Identity", "x", "c")
    shape = (batch, *size, 3) if channels_last else (batch, 3, *size)
    return graph([first, *nodes], [weights("W", 6, 3, 3, 3), weights("V", 6, 3)], shape, [("y", (batch, 3))])

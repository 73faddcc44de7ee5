"""Floating point operations of a graph for one sample, a multiplication and an addition being two.

Counted are the convolutions and matrix products, as for the networks of the menu; the rest is small beside them.
"""

import math
from collections.abc import Mapping

import onnx

Shapes = Mapping[str, tuple[int, ...]]


def count_flops(graph: onnx.GraphProto, shapes: Shapes, num_rows: int) -> int:
    """`shapes` are those of all tensors in a run of `num_rows` samples, the stored ones included."""
    total = sum(_OPERATIONS[node.op_type](node, shapes) for node in graph.node if node.op_type in _OPERATIONS)
    return total // num_rows


def _conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each output element is a product over the kernel: weights (M, C / groups, ...)."""
    weight, out = shapes.get(node.input[1]), shapes.get(node.output[0])
    return 2 * math.prod(out) * math.prod(weight[1:]) if weight and out else 0


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input element is spread over the kernel: weights (C, M / groups, ...)."""
    x, weight = shapes.get(node.input[0]), shapes.get(node.input[1])
    return 2 * math.prod(x) * math.prod(weight[1:]) if weight and x else 0


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    a, out = shapes.get(node.input[0]), shapes.get(node.output[0])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * math.prod(out) * a[0 if transposed else 1] if a and out else 0


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    a, out = shapes.get(node.input[0]), shapes.get(node.output[0])
    return 2 * math.prod(out) * a[-1] if a and out else 0


_OPERATIONS = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}

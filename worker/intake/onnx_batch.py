"""A graph exported for one image at a time, freed to take any number, where it then still computes the same.

Exporters bake the batch size into the input's shape and into the target of each Reshape. Both are rewritten; whether
the result is right is not argued but tried, row by row against the graph as it came.
"""

from collections.abc import Iterator

import numpy as np
import onnx

from worker.engine.onnx_teacher import RUN_ERRORS, open_graph, run_graph
from worker.intake.onnx_graph import array_of

_FREE = "N"
#: Sums run in another order in a larger batch.
_RTOL, _ATOL = 1e-3, 1e-4


def depends_on_input(graph: onnx.GraphProto, input_name: str) -> list[str]:
    """Tensors of the graph that the input goes into, in the order in which they are computed."""
    reached = {input_name: None}
    for node in graph.node:
        inside = [name for attribute in node.attribute for name in _captured(attribute)]
        if any(name in reached for name in (*node.input, *inside)):
            reached |= dict.fromkeys(name for name in node.output if name)
    return [name for name in reached if name != input_name]


def _captured(attribute: onnx.AttributeProto) -> Iterator[str]:
    """Names that the graphs inside of a node may take from outside."""
    for graph in (attribute.g, *attribute.graphs):
        for node in graph.node:
            yield from node.input
            for inner in node.attribute:
                yield from _captured(inner)


def free_batch(model: onnx.ModelProto, input_name: str, batch: int) -> onnx.ModelProto:
    """A copy whose first dimension is open."""
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    del graph.value_info[:]  # they repeat the old batch size
    for value in (*(value for value in graph.input if value.name == input_name), *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == batch:
            dims[0].dim_param = _FREE
    reached = {input_name, *depends_on_input(graph, input_name)}
    for number, node in enumerate(graph.node):
        if node.op_type == "Reshape" and node.input[0] in reached:
            _free_reshape(graph, node, batch, f"{_FREE}_reshape_{number}")
    return freed


def _free_reshape(graph: onnx.GraphProto, node: onnx.NodeProto, batch: int, name: str) -> None:
    target = _constant(graph, node.input[1])
    if target is None or target.ndim != 1 or not len(target) or target[0] != batch:
        return
    # -1 is worked out from the rest; only one dimension can be, so otherwise 0: as it is in the data.
    target = np.array([0 if -1 in target else -1, *target[1:]], np.int64)
    graph.initializer.append(onnx.numpy_helper.from_array(target, name))
    node.input[1] = name


def _constant(graph: onnx.GraphProto, name: str) -> np.ndarray | None:
    for tensor in graph.initializer:
        if tensor.name == name:
            return array_of(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            return next((array_of(a.t) for a in node.attribute if a.name == "value"), None)
    return None


def computes_the_same(
    model: onnx.ModelProto, original: onnx.ModelProto, batch: int, outputs: list[str], x: np.ndarray
) -> bool:
    """True where `model` gives for all rows of x at once what `original` gives for `batch` of them at a time."""
    try:
        together = run_graph(open_graph(model, outputs, 1), x, None)
    except RUN_ERRORS:
        return False
    alone = run_graph(open_graph(original, outputs, 1), x, batch)
    return all(close(together[name], alone[name]) for name in outputs)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """True where both hold the same numbers, up to the rounding of another order of sums."""
    if a.shape != b.shape:
        return False
    scale = float(np.abs(b[np.isfinite(b)]).max(initial=1.0))
    return bool(np.allclose(a, b, rtol=_RTOL, atol=_ATOL * scale, equal_nan=True))

"""An ONNX file as a graph that we are willing to run: bounded, whole, standard operators alone.

Refused: tensors that lie in other files (paths are an old way out of the sandbox), functions, operators of other
domains, and graphs that onnx.checker does not accept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from core.errors import Rejected

#: protobuf's own limit.
MAX_BYTES = 2**31 - 1
MAX_NODES = 50_000
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}

_EXPORT_AGAIN = "Export the model again, with the weights inside the file and standard operators alone."


@dataclass(frozen=True)
class Facts:
    """What can be read off the graph: `stored` counts every number in it, `constants` those that are no weights."""

    input: str
    #: The float tensors among its outputs.
    outputs: list[str]
    stored: int
    constants: int
    producer: str
    opset: int


def load(path: Path) -> onnx.ModelProto:
    """The graph, checked. Raises Rejected."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Rejected(
            f"The ONNX file has {size:,} bytes, more than the 2 GiB that a graph can have. Hand in a smaller teacher.",
            code="too_big",
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise Rejected(f"The file is no ONNX graph, or it was cut off. {_EXPORT_AGAIN}", code="damaged") from None
    _check_safety(model)
    _check_validity(model)
    return model


def facts(model: onnx.ModelProto) -> Facts:
    """Its one input, its outputs, its size. Raises Rejected where there is not exactly one input."""
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = [value.name for value in graph.input if value.name not in held]
    if len(inputs) != 1:
        raise Rejected(
            f"The graph takes {len(inputs)} inputs ({', '.join(inputs[:5])}); a teacher takes one, the images or the "
            "rows. Export it with a single input.",
            code="inputs",
        )
    outputs = [value.name for value in graph.output if value.type.tensor_type.elem_type in FLOATS]
    if not outputs:
        raise Rejected(
            "No output of the graph is a tensor of floating point numbers. Export the model so that it gives its "
            "scores as (N, C), not as labels or as a list of maps.",
            code="outputs",
        )
    counts = {tensor.name: _count(tensor) for tensor in graph.initializer}
    whole = {tensor.name for tensor in graph.initializer if tensor.data_type in _WHOLE}
    return Facts(
        inputs[0],
        outputs,
        sum(counts.values()),
        sum(counts[name] for name in whole),
        f"{model.producer_name} {model.producer_version}".strip()[:100],
        max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0),
    )


#: Numbers that are no weights: shapes, axes, indices. 8-bit integers are weights of a quantised graph.
_WHOLE = {onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """The numbers of a stored tensor. Raises Rejected where there are not as many as its shape says."""
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise Rejected(
            f"The stored tensor {tensor.name[:100]!r} is damaged: {error}. {_EXPORT_AGAIN}", code="onnx_invalid"
        ) from None


def _count(tensor: onnx.TensorProto) -> int:
    count = 1
    for dim in tensor.dims:
        count *= dim
    return count


def _check_safety(model: onnx.ModelProto) -> None:
    if len(model.functions):
        raise Rejected(f"The graph defines functions of its own. {_EXPORT_AGAIN}", code="onnx_functions")
    if len(model.training_info):
        raise Rejected(f"The graph holds training steps. {_EXPORT_AGAIN}", code="onnx_training")
    foreign = {entry.domain for entry in model.opset_import} - _DOMAINS
    num_nodes = 0
    for graph in _graphs(model.graph):
        num_nodes += len(graph.node)
        if num_nodes > MAX_NODES:
            raise Rejected(
                f"The graph has more than the {MAX_NODES:,} nodes allowed. Simplify it, or hand in the weights with an "
                "architecture of the menu.",
                code="too_big",
            )
        foreign |= {node.domain for node in graph.node} - _DOMAINS
        _check_inside(graph)
    if foreign:
        raise Rejected(
            f"The graph uses operators of the domain {min(foreign)[:100]!r}. {_EXPORT_AGAIN}", code="onnx_domain"
        )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes (the branches of an If, the body of a Loop)."""
    waiting = [graph]
    while waiting:
        found = waiting.pop()
        yield found
        for node in found.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)


def _check_inside(graph: onnx.GraphProto) -> None:
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
            raise Rejected(
                f"The tensor {tensor.name[:100]!r} lies in another file. Save the model with its weights inside: "
                'onnx.save(onnx.load("model.onnx"), "whole.onnx", save_as_external_data=False).',
                code="onnx_external_data",
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _check_validity(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        if "memory" in str(error):
            raise
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise Rejected(f"onnx.checker refuses the graph: {reason}. {_EXPORT_AGAIN}", code="onnx_invalid") from None

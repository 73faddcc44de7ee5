"""What comes out of a graph: which output is the scores, whether they are logits, what feeds the last layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from core.errors import Problem, Rejected

Kind = Literal["logits", "probabilities", "values"]

#: Nodes that hand on what they get, as far as scores (N, C) go.
_PASSES_ON = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"}
#: Nodes between the last linear layer and the scores.
_AFTER_LINEAR = _PASSES_ON | {"Add", "Sub", "Mul", "Div", "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Clip"}
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scores:
    """`output` is the graph's own, `read` the tensor to take in its place, of this kind."""

    output: str
    read: str
    kind: Kind
    num_outputs: int
    why: str


def choose_output(names: list[str], found: Mapping[str, np.ndarray], num_rows: int) -> str:
    """The first output with one row of float scores a sample. Raises Rejected where there is none."""
    fitting = [name for name in names if name in found and _is_row_of_scores(found[name], num_rows)]
    if not fitting:
        shapes = ", ".join(f"{name} {list(found[name].shape)}" for name in names[:5] if name in found)
        raise Rejected(
            f"No output of the graph is a row of scores a sample, (N, C) in floating point, for {num_rows} samples: "
            f"{shapes or 'none is a tensor'}. Export the model so that it gives its logits.",
            code="outputs",
        )
    return fitting[0]


def _is_row_of_scores(array: np.ndarray, num_rows: int) -> bool:
    shape = array.shape
    return array.dtype.kind == "f" and len(shape) >= 1 and shape[0] == num_rows and all(dim == 1 for dim in shape[2:])


def read_scores(graph: onnx.GraphProto, output: str, found: Mapping[str, np.ndarray], wish: str) -> Scores:
    """Decide what the scores are: the user's word first, then the graph's last node, then the numbers.

    A softmax that the graph ends in is left out: its input is the logits themselves, and nothing is lost in a
    logarithm. Raises Rejected where the user says probabilities and the rows do not sum to one.
    """
    scores = found[output].reshape(len(found[output]), -1)
    width = scores.shape[1]
    if wish == "values" or (wish == "auto" and width == 1):
        return Scores(output, output, "values", width, "one value a sample" if wish == "auto" else "as you say")
    if wish == "logits":
        return Scores(output, output, "logits", width, "as you say")
    before = _before_softmax(graph, output)
    if before is not None and before in found and found[before].size == scores.size:
        return Scores(
            output, before, "logits", width, f"the graph ends in softmax, its input {before!r} is read instead"
        )
    if width > 1 and _sums_to_one(scores):
        return Scores(output, output, "probabilities", width, "rows are positive and sum to 1; the logarithm is taken")
    if wish == "probabilities":
        message = f"the rows of {output!r} are not probabilities: they do not sum to 1"
        raise Rejected(f"outputs: {message}.", code="bad_outputs", errors=[Problem("/outputs", message)])
    return Scores(output, output, "logits", width, "rows do not sum to 1 and the graph does not end in softmax")


def _sums_to_one(scores: np.ndarray) -> bool:
    return bool((scores >= 0).all() and (np.abs(scores.sum(1) - 1) < _SUM_TOLERANCE).all())


def _before_softmax(graph: onnx.GraphProto, output: str) -> str | None:
    """The input of the softmax over classes that ends the graph."""
    node = _producer(graph, output)
    while node is not None and node.op_type in _PASSES_ON:
        node = _producer(graph, node.input[0])
    if node is None or node.op_type != "Softmax":
        return None
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), None)
    return node.input[0] if axis in (None, 1, -1) else None


def find_embedding(graph: onnx.GraphProto, output: str, found: Mapping[str, np.ndarray], num_rows: int) -> str | None:
    """What feeds the last linear layer, (N, D); None where the graph does not end in one."""
    node = _producer(graph, output)
    computed = {name for made in graph.node for name in made.output}
    while node is not None and node.op_type in _AFTER_LINEAR:
        sources = [name for name in node.input if name in computed]
        node = _producer(graph, sources[0]) if sources else None
    if node is None or node.op_type not in ("Gemm", "MatMul"):
        return None
    fed = node.input[0]
    array = found.get(fed)
    return fed if array is not None and array.ndim == 2 and len(array) == num_rows else None


def _producer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    return next((node for node in graph.node if name in node.output), None)

"""A teacher that comes as an ONNX graph, run by ONNX Runtime on the CPU. Intermediate tensors serve as taps.

Shapes: N samples, C classes or values, D features of the embedding.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from torch import Tensor

from models.canonical import MIN_PROBABILITY, TeacherMeta
from worker.engine.outputs import Outputs

# ONNX Runtime reports its use to its makers unless told not to; what a user computes is nobody's business.
ort.disable_telemetry_events()

#: What ONNX Runtime raises for a graph that it cannot open or run.
RUN_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

#: What goes wrong is raised; it need not be printed as well.
_FATAL_ONLY = 4
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def open_graph(model: onnx.ModelProto, outputs: Sequence[str], threads: int = 0) -> ort.InferenceSession:
    """A session on the CPU that gives just these tensors of the graph, intermediate ones included."""
    wanted = onnx.ModelProto()
    wanted.CopyFrom(model)
    known = {value.name: value for value in model.graph.output}
    del wanted.graph.output[:]
    wanted.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    return ort.InferenceSession(wanted.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_graph(session: ort.InferenceSession, x: np.ndarray, graph_batch: int | None) -> dict[str, np.ndarray]:
    """Outputs by name for x (N, ...). A graph with a fixed batch is run as often as needed, on the last row again where
    rows are missing."""
    entry = session.get_inputs()[0]
    names = [output.name for output in session.get_outputs()]
    x = np.ascontiguousarray(x, _DTYPES[entry.type])
    parts = [session.run(names, {entry.name: rows}) for rows in _batches(x, graph_batch)]
    if len(parts) == 1 and graph_batch is None:
        return dict(zip(names, parts[0], strict=True))
    return {name: np.concatenate([np.atleast_1d(part[i]) for part in parts])[: len(x)] for i, name in enumerate(names)}


def _batches(x: np.ndarray, size: int | None) -> Iterator[np.ndarray]:
    if size is None:
        yield x
        return
    missing = -len(x) % size
    whole = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


class OnnxTeacher:
    """Calls the graph; `taps` names the tensors to hand out as features. `threads` 0 leaves it to ONNX Runtime."""

    def __init__(self, path: Path, meta: TeacherMeta, taps: Sequence[str] = (), threads: int = 0) -> None:
        assert meta.graph_output is not None, "the meta of a graph names its output"
        self.meta = meta
        self.taps = list(taps)
        wanted = [meta.graph_output, *self.taps, *([meta.graph_embedding] if meta.graph_embedding else [])]
        self._session = open_graph(
            onnx.load_model(path, load_external_data=False), list(dict.fromkeys(wanted)), threads
        )

    def __call__(self, x: Tensor) -> Outputs:
        """x (N, ...) float32, normalised and laid out as the graph wants it; the outputs lie where x lies."""
        found = run_graph(self._session, x.detach().cpu().numpy(), self.meta.graph_batch)
        tensors = {name: torch.from_numpy(array).to(x.device, torch.float32) for name, array in found.items()}
        assert self.meta.graph_output is not None
        scores = tensors[self.meta.graph_output].reshape(len(x), -1)
        if self.meta.output_kind == "probabilities":
            scores = scores.clamp_min(MIN_PROBABILITY).log()
        embedding = tensors[self.meta.graph_embedding].flatten(1) if self.meta.graph_embedding else None
        return Outputs(scores, {name: tensors[name] for name in self.taps}, embedding)

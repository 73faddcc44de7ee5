"""An ONNX graph becomes a teacher: checked, tried on noise, its batch freed, its scores and taps found."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from core.errors import Problem, Rejected
from models.canonical import Tap, TeacherMeta
from models.spec.teachers import TeacherSpec
from worker.engine.onnx_teacher import RUN_ERRORS, open_graph, run_graph
from worker.intake import onnx_graph, preset
from worker.intake.onnx_batch import close, computes_the_same, depends_on_input, free_batch
from worker.intake.onnx_flops import count_flops
from worker.intake.onnx_graph import Facts
from worker.intake.onnx_input import GraphInput, read_input, resolved_size
from worker.intake.onnx_output import Scores, choose_output, find_embedding, read_scores
from worker.intake.report import Report

FILE = "teacher.onnx"

_ROWS = 3
#: As models.spec.base.ModulePath, which is how a job names a tap.
_TAP_NAME = re.compile(r"[\w./:\-]{1,300}")
_MAX_TAPS = 2000
#: Files of ONNX Runtime's makers in what it says.
_PLACE_IN_CODE = re.compile(r"/\S+\.(?:cc|h):\d+ ")
#: Since IR version 4 a stored tensor need not be listed among the inputs, where anyone may replace it.
_MIN_IR = 4


@dataclass(frozen=True)
class _Tried:
    """The graph in its final form and what it gave: every tensor of a run on `num_rows` samples."""

    model: onnx.ModelProto
    graph_batch: int | None
    shape: tuple[int, ...]
    num_rows: int
    found: dict[str, np.ndarray]


def convert_graph(path: Path, spec: TeacherSpec, out: Path, report: Report) -> TeacherMeta:
    """Write out/teacher.onnx and tell what it is. Raises Rejected."""
    if spec.rename:
        message = "rename is for checkpoints; the names in a graph stay as they are"
        raise Rejected(f"{message}.", code="bad_rename", errors=[Problem("/rename", message)])
    model = onnx_graph.load(path)
    facts = onnx_graph.facts(model)
    report.passed("onnx", f"onnx.checker accepts the graph: opset {facts.opset}, by {facts.producer or 'unknown'}")
    report.figures |= {"parameters": facts.stored, "constants": facts.constants, "declared": _declared(model, facts)}
    report.passed("size", f"{facts.stored:,} stored numbers, {facts.constants:,} of them shapes and other constants")
    _only_true_inputs(model)
    _check_weights(model, report)
    entry = read_input(model, facts.input, spec.input)
    if entry.layout != spec.input.layout:
        report.warn("layout", f"the graph takes images of shape {list(entry.dims)}: taken as NHWC, not NCHW")
    try:
        tried = _try(model, entry, facts, spec, report)
    except RUN_ERRORS as error:
        raise _cannot_run(error) from None
    meta = _describe(tried, entry, facts, spec, report)
    onnx.save_model(tried.model, out / FILE)
    return meta


def _declared(model: onnx.ModelProto, facts: Facts) -> dict[str, list[int | None]]:
    """Shapes as the file states them, by name; None where it leaves a dimension open."""
    values = [
        value for value in (*model.graph.input, *model.graph.output) if value.name in (facts.input, *facts.outputs)
    ]
    return {v.name: [d.dim_value if d.dim_value > 0 else None for d in v.type.tensor_type.shape.dim] for v in values}


def _only_true_inputs(model: onnx.ModelProto) -> None:
    stored = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, _MIN_IR)


def _check_weights(model: onnx.ModelProto, report: Report) -> None:
    arrays = [onnx_graph.array_of(tensor) for tensor in model.graph.initializer]
    count = sum(int((~np.isfinite(array)).sum()) for array in arrays if array.dtype.kind == "f")
    report.figures["non_finite"] = count
    if count:
        report.warn("finite", f"{count:,} of the stored numbers are NaN or infinite")
    else:
        report.passed("finite", "all stored numbers are finite")


def _cannot_run(error: Exception) -> Rejected:
    if "bad_alloc" in str(error) or "allocate" in str(error):
        raise MemoryError from error
    reason = _PLACE_IN_CODE.sub("", " ".join(str(error).split()))[:300]
    return Rejected(
        f"ONNX Runtime cannot run the graph: {reason}. Export it again, for a current opset, and try it with "
        "onnxruntime first.",
        code="onnx_run",
    )


def _try(model: onnx.ModelProto, entry: GraphInput, facts: Facts, spec: TeacherSpec, report: Report) -> _Tried:
    session = open_graph(model, facts.outputs, 1)
    x, first = _first_that_runs(session, entry, spec.input.size)
    again = run_graph(session, x, entry.batch)
    if not all(close(first[name], again[name]) for name in facts.outputs):
        raise Rejected(
            "The graph gives other answers to the same input each time. Export the model in evaluation mode.",
            code="random",
        )
    model, graph_batch = _free(model, entry, facts, x, report)
    num_rows = graph_batch or 2
    inside = [name for node in model.graph.node for name in node.output if name]
    found = run_graph(open_graph(model, inside, 1), _noise(num_rows, x.shape[1:]), None)
    arrays = {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
    return _Tried(model, graph_batch, x.shape[1:], num_rows, arrays)


def _noise(num_rows: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((num_rows, *shape)).astype(np.float32)


def _first_that_runs(
    session: ort.InferenceSession, entry: GraphInput, size: tuple[int, int] | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    problem: Exception | None = None
    for shape in entry.candidates(size):
        x = _noise(_ROWS if entry.batch in (None, 1) else entry.batch + 1, shape)
        try:
            return x, run_graph(session, x, entry.batch)
        except RUN_ERRORS as error:
            problem = problem or error
    assert problem is not None, "read_input makes sure of a candidate"
    raise problem


def _free(
    model: onnx.ModelProto, entry: GraphInput, facts: Facts, x: np.ndarray, report: Report
) -> tuple[onnx.ModelProto, int | None]:
    """The graph and its batch: None where it takes any number of rows and treats each by itself."""
    if entry.batch is None:
        if computes_the_same(model, model, 1, facts.outputs, x):
            report.passed("batch", "the graph takes any number of rows and treats each by itself")
            return model, None
        report.warn("batch", "rows of a batch influence each other: the graph is run row by row, which is slow")
        return model, 1
    freed = free_batch(model, entry.name, entry.batch)
    if computes_the_same(freed, model, entry.batch, facts.outputs, x):
        report.passed("batch", f"made for {entry.batch} row(s) at a time; rewritten for any number, with equal results")
        return freed, None
    report.warn("batch", f"the graph takes exactly {entry.batch} row(s) at a time, which is slow")
    return model, entry.batch


def _describe(tried: _Tried, entry: GraphInput, facts: Facts, spec: TeacherSpec, report: Report) -> TeacherMeta:
    graph, found = tried.model.graph, tried.found
    output = choose_output(facts.outputs, found, tried.num_rows)
    if len(facts.outputs) > 1:
        report.warn("outputs", f"of {len(facts.outputs)} outputs, {output!r} is taken")
    scores = read_scores(graph, output, found, spec.outputs)
    _check_scores(scores, found, spec, report)
    channels = tried.shape[entry.channel_axis] if entry.channel_axis is not None else None
    wanted = preset.resolve(spec.input, channels)
    meta = TeacherMeta(
        architecture=spec.architecture,
        input=wanted.model_copy(update={"size": resolved_size(entry, wanted.size), "layout": entry.layout}),
        input_shape=tuple(dim if dim is not None else -1 for dim in entry.dims),
        num_outputs=scores.num_outputs,
        output_kind=scores.kind,
        taps=_taps(tried, entry, scores),
        parameters=facts.stored,
        flops=count_flops(graph, _shapes(tried), tried.num_rows),
        classes=spec.classes or [],
        accuracy=spec.accuracy,
        graph_input=entry.name,
        graph_output=scores.read,
        graph_embedding=find_embedding(graph, scores.read, found, tried.num_rows),
        graph_batch=tried.graph_batch,
    )
    report.figures |= {"probed_with": list(tried.shape), "output": output, "embedding": meta.graph_embedding}
    return meta


def _check_scores(scores: Scores, found: dict[str, np.ndarray], spec: TeacherSpec, report: Report) -> None:
    if not np.isfinite(found[scores.read]).all():
        raise Rejected("The graph gives NaN or infinite scores for plain noise. Check its weights.", code="not_finite")
    report.passed("forward", f"{scores.num_outputs} scores a sample from {scores.read!r}, all finite")
    report.passed("outputs_kind", f"{scores.kind}: {scores.why}")
    if spec.outputs == "logits" and scores.num_outputs > 1 and _one_sided(found[scores.read]):
        report.warn("outputs_kind", "you say logits, but every row is positive and sums to 1, as probabilities do")


def _one_sided(array: np.ndarray) -> bool:
    rows = array.reshape(len(array), -1)
    return bool((rows >= 0).all() and np.allclose(rows.sum(1), 1, atol=1e-3))


def _shapes(tried: _Tried) -> dict[str, tuple[int, ...]]:
    stored = {tensor.name: tuple(tensor.dims) for tensor in tried.model.graph.initializer}
    return stored | {name: array.shape for name, array in tried.found.items()}


def _taps(tried: _Tried, entry: GraphInput, scores: Scores) -> list[Tap]:
    """Float tensors with a row for each sample, in the order of computation, but for the scores themselves."""
    taps = []
    for name in depends_on_input(tried.model.graph, entry.name):
        array = tried.found.get(name)
        if array is None or array.dtype.kind != "f" or array.ndim < 2 or len(array) != tried.num_rows:
            continue
        if name not in (scores.output, scores.read) and _TAP_NAME.fullmatch(name):
            taps.append(Tap(name=name, shape=list(array.shape[1:])))
    return taps[:_MAX_TAPS]

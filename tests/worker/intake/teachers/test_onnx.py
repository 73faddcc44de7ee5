"""ONNX graphs of every make become teachers that compute what they computed; those that could do harm are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from models.canonical import MIN_PROBABILITY, TeacherMeta
from models.work import IntakeResult
from tests.worker.intake.teachers.graphs import graph, images, linear, node, tensor, weights
from tests.worker.intake.teachers.makers import SHARED, checks, examine, meta_of, pointers, verdict
from worker.engine.onnx_teacher import OnnxTeacher
from worker.intake.onnx_fit import FILE

SAMPLES = SHARED / "checkpoint-samples"


def _examine(folder: Path, model: onnx.ModelProto, **said: Any) -> IntakeResult:
    return examine(folder, model.SerializeToString(), {"architecture": {"type": "onnx"}, **said})


def _original(model: bytes, x: np.ndarray) -> np.ndarray:
    """What the graph gives as it came, one row at a time."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in x])


def _teacher(folder: Path, meta: TeacherMeta, taps: tuple[str, ...] = ()) -> OnnxTeacher:
    return OnnxTeacher(folder / "out" / FILE, meta, taps, threads=1)


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _line(result: IntakeResult, id_: str) -> str:
    return next(line["result"] for line in checks(result) if line["id"] == id_)


def _sample(name: str) -> bytes:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("the shared checkpoint samples are not here")
    return path.read_bytes()


def test_the_handwritten_digits_of_the_model_zoo(tmp_path: Path) -> None:
    upload = _sample("mnist-8.onnx")
    result = examine(
        tmp_path, upload, {"architecture": {"type": "onnx"}, "input": {"preset": "none", "range": [0, 255]}}
    )
    meta = meta_of(result)
    assert meta.parameters == result.report["parameters"] == 5_998
    assert result.report["declared"] == {"Input3": [1, 1, 28, 28], "Plus214_Output_0": [1, 10]}
    assert (meta.input_shape, meta.input.size, meta.num_outputs) == ((1, 28, 28), (28, 28), 10)
    assert (meta.output_kind, meta.graph_batch) == ("logits", None)
    assert meta.graph_embedding == "Pooling160_Output_0_reshape0"
    assert meta.flops == 2 * (28 * 28 * 8 * 25 + 14 * 14 * 16 * 8 * 25 + 256 * 10)
    assert {tap.name: tap.shape for tap in meta.taps}["Pooling66_Output_0"] == [8, 14, 14]
    x = _noise(5, 1, 28, 28) * 50
    outputs = _teacher(tmp_path, meta, ("ReLU32_Output_0",))(x)
    np.testing.assert_allclose(outputs.logits, _original(upload, x.numpy()), rtol=1e-4, atol=1e-2)
    assert outputs.features["ReLU32_Output_0"].shape == (5, 8, 28, 28)
    assert outputs.embedding is not None
    assert outputs.embedding.shape == (5, 256)


def test_the_spoken_words_end_in_softmax(tmp_path: Path) -> None:
    upload = _sample("KWS-DNN_S.onnx")
    result = examine(tmp_path, upload, {"architecture": {"type": "onnx"}})
    meta = meta_of(result)
    assert meta.parameters == 79_646
    assert result.report["declared"] == {"Mfcc:0": [1, 25, 10], "labels_softmax:0": [1, 12]}
    assert (meta.input_shape, meta.num_outputs, meta.output_kind) == ((25, 10), 12, "logits")
    assert meta.graph_output == "MatMul_Gemm__17:0"
    assert "softmax" in next(line["detail"] for line in checks(result) if line["id"] == "outputs_kind")
    x = _noise(4, 25, 10)
    logits = _teacher(tmp_path, meta)(x).logits
    np.testing.assert_allclose(logits.softmax(1), _original(upload, x.numpy()), rtol=1e-3, atol=1e-5)


SOFTMAX_BY_HAND = [
    node("Exp", "z", "e"),
    node("ReduceSum", "e one", "s", keepdims=1),
    node("Div", "e s", "y"),
]


def _with(model: onnx.ModelProto, *stored: onnx.TensorProto) -> onnx.ModelProto:
    model.graph.initializer.extend(stored)
    return model


@pytest.mark.parametrize(
    ("make", "kind", "read"),
    [
        (linear, "logits", "z"),
        (lambda: linear(then=[node("Softmax", "z", "y", axis=1)], last="y"), "logits", "z"),
        (lambda: linear(then=[node("Softmax", "z", "s"), node("Identity", "s", "y")], last="y"), "logits", "z"),
        (lambda: linear(then=[node("LogSoftmax", "z", "y")], last="y"), "logits", "y"),
        (lambda: _with(linear(then=SOFTMAX_BY_HAND, last="y"), tensor("one", [1], np.int64)), "probabilities", "y"),
        (lambda: linear(then=[node("Softmax", "z", "y", axis=0)], last="y"), "logits", "y"),
    ],
    ids=["logits", "softmax", "softmax and more", "log softmax", "softmax by hand", "softmax over rows"],
)
def test_what_the_scores_are(tmp_path: Path, make: Callable[[], onnx.ModelProto], kind: str, read: str) -> None:
    meta = meta_of(_examine(tmp_path, make()))
    assert (meta.output_kind, meta.graph_output) == (kind, read)
    if read == "z" or kind == "probabilities":
        logits = _teacher(tmp_path, meta)(_noise(6, 4)).logits
        expected = _original(linear().SerializeToString(), _noise(6, 4).numpy())
        np.testing.assert_allclose(logits.softmax(1), torch.from_numpy(expected).softmax(1), rtol=1e-4, atol=1e-6)


def test_the_users_word_on_the_scores_counts(tmp_path: Path) -> None:
    soft = linear(then=[node("Softmax", "z", "y")], last="y")
    result = _examine(tmp_path / "logits", soft, outputs="logits")
    assert meta_of(result).graph_output == "y"
    assert any(line["result"] == "warn" and line["id"] == "outputs_kind" for line in checks(result))
    assert meta_of(_examine(tmp_path / "values", linear(), outputs="values")).output_kind == "values"
    refused = _examine(tmp_path / "wrong", linear(), outputs="probabilities")
    assert verdict(refused)[0] == "bad_outputs"
    assert pointers(refused) == ["/outputs"]


def test_a_probability_of_zero_stays_finite(tmp_path: Path) -> None:
    meta = meta_of(_examine(tmp_path, _with(linear(then=SOFTMAX_BY_HAND, last="y"), tensor("one", [1], np.int64))))
    logits = _teacher(tmp_path, meta)(_noise(3, 4) * 12).logits
    assert torch.isfinite(logits).all()
    assert logits.min() == pytest.approx(np.log(MIN_PROBABILITY))


RESHAPED = [node("Reshape", "x to", "r"), node("Gemm", "r W", "y")]
SQUEEZED = [node("Squeeze", "x zero", "r"), node("MatMul", "r W", "v"), node("Unsqueeze", "v zero", "y")]
CENTRED = [node("ReduceMean", "x", "m", axes=[0]), node("Sub", "x m", "r"), node("Gemm", "r W", "y")]
ADDED = [node("Add", "x E", "r"), node("Gemm", "r W", "y")]
ZERO = tensor("zero", [0], np.int64)
W = weights("W", 4, 3)


@pytest.mark.parametrize(
    ("model", "graph_batch", "result"),
    [
        (graph(RESHAPED, [W, tensor("to", [1, 4], np.int64)], (1, 2, 2), [("y", (1, 3))]), None, "pass"),
        (graph(RESHAPED, [W, tensor("to", [1, -1], np.int64)], (1, 2, 2), [("y", (1, 3))]), None, "pass"),
        (graph(RESHAPED, [W, tensor("to", [2, 4], np.int64)], (2, 2, 2), [("y", (2, 3))]), None, "pass"),
        (linear(batch=1), None, "pass"),
        (graph(SQUEEZED, [W, ZERO], (1, 4), [("y", (1, 3))]), 1, "warn"),
        (graph(CENTRED, [W], (1, 4), [("y", (1, 3))]), 1, "warn"),
        (graph(CENTRED, [W], ("N", 4), [("y", ("N", 3))]), 1, "warn"),
        (graph(ADDED, [W, weights("E", 2, 4)], (2, 4), [("y", (2, 3))]), 2, "warn"),
        (linear(), None, "pass"),
    ],
    ids=["reshape", "reshape open", "two rows", "gemm", "squeeze", "fixed mean", "open mean", "added rows", "open"],
)
def test_a_fixed_batch_is_freed_where_the_graph_stays_the_same(
    tmp_path: Path, model: onnx.ModelProto, graph_batch: int | None, result: str
) -> None:
    found = _examine(tmp_path, model)
    meta = meta_of(found)
    assert meta.graph_batch == graph_batch
    assert _line(found, "batch") == result
    x = _noise(5, *meta.input_shape)
    outputs = _teacher(tmp_path, meta)(x)
    assert outputs.logits.shape == (5, 3)
    if graph_batch != 2 and model.graph.input[0].type.tensor_type.shape.dim[0].dim_value != 2:
        np.testing.assert_allclose(
            outputs.logits, _original(model.SerializeToString(), x.numpy()), rtol=1e-4, atol=1e-5
        )


def test_a_batch_that_stays_fixed_is_filled_up(tmp_path: Path) -> None:
    added = graph(ADDED, [W, weights("E", 2, 4)], (2, 4), [("y", (2, 3))])
    meta = meta_of(_examine(tmp_path, added))
    x = _noise(3, 4)
    rows = torch.tensor(np.array(onnx.numpy_helper.to_array(added.graph.initializer[1])))
    expected = (x + torch.stack([rows[0], rows[1], rows[0]])) @ torch.tensor(onnx.numpy_helper.to_array(W).copy())
    np.testing.assert_allclose(_teacher(tmp_path, meta, ("r",))(x).logits, expected, rtol=1e-4, atol=1e-5)


def test_images_channels_first_of_any_size(tmp_path: Path) -> None:
    meta = meta_of(_examine(tmp_path, images(size=("H", "W")), input={"preset": "imagenet"}))
    assert (meta.input_shape, meta.input.size, meta.input.mean) == ((3, -1, -1), None, [0.485, 0.456, 0.406])
    taps = {tap.name: tap.shape for tap in meta.taps}
    assert list(taps) == ["c", "m", "r", "p", "f"]
    assert meta.graph_embedding == "f"
    assert _teacher(tmp_path, meta)(_noise(2, 3, 20, 12)).logits.shape == (2, 3)


def test_images_channels_last(tmp_path: Path) -> None:
    for number, layout in enumerate(("NCHW", "NHWC")):
        result = _examine(tmp_path / str(number), images(channels_last=True), input={"layout": layout})
        meta = meta_of(result)
        assert (meta.input_shape, meta.input.layout, meta.input.size) == ((8, 8, 3), "NHWC", (8, 8))
        assert any(line["id"] == "layout" for line in checks(result)) == (layout == "NCHW")


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"input": {"layout": "NHWC"}}, "/input/layout"),
        ({"input": {"size": [9, 8]}}, "/input/size"),
        ({"input": {"preset": "mnist", "mean": [0.1, 0.2]}}, "/input/mean"),
        ({"rename": [["a", "b"]]}, "/rename"),
        ({"classes": ["one", "two"]}, "/classes"),
    ],
)
def test_what_the_user_says_has_to_fit(tmp_path: Path, said: dict[str, Any], pointer: str) -> None:
    result = _examine(tmp_path, images(), **said)
    verdict(result)
    assert pointers(result) == [pointer]


def _external(model: onnx.ModelProto, *, in_branch: bool = False) -> onnx.ModelProto:
    stored = weights("outside", 2, 2)
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="../../etc/passwd")
    if not in_branch:
        return _with(model, stored)
    branch = helper.make_graph([node("Identity", "outside", "o")], "branch", [], [], [stored])
    model.graph.node.append(helper.make_node("If", ["c"], ["i"], then_branch=branch, else_branch=branch))
    return model


def _foreign() -> onnx.ModelProto:
    model = linear()
    model.graph.node.append(helper.make_node("Evil", ["z"], ["w"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def _with_function() -> onnx.ModelProto:
    model = linear()
    made = helper.make_function("own", "F", ["a"], ["b"], [node("Identity", "a", "b")], [helper.make_opsetid("", 17)])
    model.functions.append(made)
    return model


def _damaged() -> onnx.TensorProto:
    """A shape without dimensions over three numbers, which the checker lets pass."""
    stored = weights("broken", 3)
    del stored.dims[:]
    return stored


def _labels_alone() -> onnx.ModelProto:
    model = linear(then=[node("ArgMax", "z", "label", axis=1, keepdims=0)])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ("N",)))
    return model


def _two_inputs() -> onnx.ModelProto:
    model = linear(then=[node("Add", "z more", "y")], last="y")
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, (3,)))
    return model


RANDOM = [node("RandomNormalLike", "z", "noise"), node("Add", "z noise", "y")]
INFINITE = [node("Div", "z nothing", "y")]


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        (_external(linear()), "onnx_external_data", "outside"),
        (_external(linear(), in_branch=True), "onnx_external_data", "outside"),
        (_foreign(), "onnx_domain", "com.example"),
        (_with_function(), "onnx_functions", "functions"),
        (_two_inputs(), "inputs", "2 inputs (x, more)"),
        (graph([node("Cast", "x", "y", to=1)], [], ("N", 3), kind=TensorProto.UINT8), "inputs", "uint8"),
        (graph([node("Identity", "x", "y")], [], ("N", "D"), [("y", ("N", "D"))]), "inputs", "['?', '?']"),
        (graph([node("Identity", "x", "y")], [], ("N", 4, 5, 6), [("y", ("N", 4, 5, 6))]), "outputs", "[2, 4, 5, 6]"),
        (graph([node("Gemm", "x Q", "y")], [weights("Q", 9, 3)]), "onnx_invalid", "checker"),
        (_with(linear(), _damaged()), "onnx_invalid", "broken"),
        (_labels_alone(), "outputs", "not as labels"),
        (linear(then=RANDOM, last="y"), "random", "evaluation mode"),
        (_with(linear(then=INFINITE, last="y"), tensor("nothing", 0)), "not_finite", "NaN or infinite"),
    ],
    ids=["external", "external in a branch", "domain", "function", "two inputs", "bytes", "open", "maps", "shapes",
         "damaged", "labels", "random", "infinite"],
)  # fmt: skip
def test_graphs_that_are_not_taken(tmp_path: Path, model: onnx.ModelProto, code: str, says: str) -> None:
    found, detail = verdict(_examine(tmp_path, model))
    assert found == code
    assert says in detail
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    upload = linear().SerializeToString()
    assert verdict(examine(tmp_path, upload[:-5], {"architecture": {"type": "onnx"}}))[0] == "damaged"


def test_a_graph_is_no_checkpoint(tmp_path: Path) -> None:
    result = examine(tmp_path, linear().SerializeToString(), {"architecture": {"type": "resnet", "depth": 8}})
    assert verdict(result)[0] == "wrong_container"


def test_of_several_outputs_the_first_row_of_scores_is_taken(tmp_path: Path) -> None:
    model = linear(then=[node("ReduceMean", "z", "mean", keepdims=0)])
    model.graph.output.insert(0, helper.make_tensor_value_info("mean", TensorProto.FLOAT, ()))
    result = _examine(tmp_path, model)
    assert meta_of(result).graph_output == "z"
    assert _line(result, "outputs") == "warn"


def test_half_precision_goes_in_and_out(tmp_path: Path) -> None:
    stored = [tensor("W", np.ones((4, 3)), np.float16)]
    model = graph([node("MatMul", "x W", "y")], stored, kind=TensorProto.FLOAT16)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    logits = _teacher(tmp_path, meta_of(_examine(tmp_path, model)))(torch.ones(2, 4)).logits
    assert logits.dtype is torch.float32
    assert logits.tolist() == [[4.0] * 3] * 2


def test_flops_count_groups_and_transposes(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x W", "m", group=2, kernel_shape=[3, 3], strides=[2, 2]),
        node("ConvTranspose", "m U", "u", kernel_shape=[2, 2]),
        node("GlobalAveragePool", "u", "p"),
        node("Flatten", "p", "y"),
    ]
    stored = [weights("W", 8, 2, 3, 3), weights("U", 8, 3, 2, 2)]
    meta = meta_of(_examine(tmp_path, graph(nodes, stored, ("N", 4, 9, 9), [("y", ("N", 3))])))
    assert meta.flops == 2 * (8 * 4 * 4 * 2 * 9) + 2 * (8 * 4 * 4 * 3 * 4)
    assert meta.graph_embedding is None

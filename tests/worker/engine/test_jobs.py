"""Whole jobs of each task and of each form of teacher, small."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from models.canonical import DatasetMeta, TeacherMeta
from tests.worker.engine import orders
from tests.worker.engine.conftest import Data, Taught, run

ROWS = {"type": "mlp", "hidden": [16]}


def test_a_table_with_classes(tmp_path: Path, row_teacher: Taught) -> None:
    loss = [{"type": "kd"}, {"type": "distance"}, {"type": "hint"}]
    spec = orders.spec(student=ROWS, loss=loss, train={"epochs": 4})
    report = run(orders.make_workdir(tmp_path, orders.digit_rows(), row_teacher, spec), tmp_path).report
    assert report["task"] == "tabular_classification"
    assert report["test"]["student"]["accuracy"] > 0.7
    assert report["taps"] == {"hint": [{"student": "hidden.0", "teacher": "hidden.0"}]}
    assert report["precision"] == {"student": "float32", "teacher": "float32"}


@pytest.mark.parametrize("units", ["standardised", "own"])
def test_a_table_with_a_number(tmp_path: Path, ink_teacher: Taught, units: str) -> None:
    tensors, meta = orders.ink()
    weights, record = ink_teacher
    assert meta.target is not None
    if units == "own":
        # The same teacher, as one who never standardised the target would have trained it.
        scale, shift = meta.target.std, meta.target.mean
        head = {"head.weight": weights["head.weight"] * scale, "head.bias": weights["head.bias"] * scale + shift}
        weights = {**weights, **head}
    train = {"epochs": 20, "optimizer": {"type": "adam", "lr": 0.01}}
    spec = orders.spec(student=ROWS, loss=[{"type": "logits_mse"}, {"type": "similarity"}], train=train)
    report = run(orders.make_workdir(tmp_path, (tensors, meta), (weights, record), spec), tmp_path).report
    assert report["test"]["teacher"]["r2"] > 0.8
    assert report["test"]["student"]["r2"] > 0.8
    assert report["test"]["agreement"] > 0.8
    spread = float(tensors["y"][tensors["split"] == 2].std()) * meta.target.std
    assert report["test"]["student"]["rmse"] < 0.5 * spread, "figures are in the units of the target"
    notices = [notice["code"] for notice in orders.events(tmp_path, "notice")]
    assert ("teacher_units" in notices) == (units == "own")


def graph_of(weights: dict[str, Tensor], *, softmax: bool) -> onnx.ModelProto:
    """An mlp with one hidden layer as an ONNX graph that takes images."""
    names = ("hidden.0.linear.weight", "hidden.0.linear.bias", "head.weight", "head.bias")
    tensors = [numpy_helper.from_array(weights[name].numpy(), name) for name in names]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", names[0], names[1]], ["linear"], transB=1),
        helper.make_node("Relu", ["linear"], ["relu"]),
        helper.make_node("Gemm", ["relu", names[2], names[3]], ["logits"], transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    out = "probabilities" if softmax else "logits"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["N", 10])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("softmax", [False, True], ids=["logits", "probabilities"])
def test_a_graph_teaches_as_the_network_that_it_was_made_from(tmp_path: Path, digits: Data, softmax: bool) -> None:
    weights, record = orders.train_teacher(*digits, {"type": "mlp", "hidden": [64]}, epochs=5)
    given: dict[str, Any] = {
        "architecture": {"type": "onnx"},
        "input_shape": (1, 8, 8),
        "num_outputs": 10,
        "parameters": record.parameters,
        "output_kind": "probabilities" if softmax else "logits",
        "taps": [{"name": "flat", "shape": [64]}, {"name": "linear", "shape": [64]}, {"name": "relu", "shape": [64]}],
        "graph_input": "x",
        "graph_output": "probabilities" if softmax else "logits",
        "graph_embedding": "relu",
    }
    graph = TeacherMeta.model_validate(given)
    spec = orders.spec(loss=[{"type": "kd"}, {"type": "hint"}, {"type": "similarity"}], train={"epochs": 2})
    reports = []
    for name, taught in (("torch", record), ("onnx", graph)):
        folder = tmp_path / name
        order = orders.make_workdir(folder, digits, (weights, taught), spec)
        if name == "onnx":
            (folder / "teachers" / "tch_1.onnx").write_bytes(graph_of(weights, softmax=softmax).SerializeToString())
        reports.append(run(order, folder).report)
    network, onnx_report = reports
    assert onnx_report["taps"] == {"hint": [{"student": "hidden.0", "teacher": "relu"}]}
    for figure in ("accuracy", "cross_entropy"):
        assert onnx_report["test"]["teacher"][figure] == pytest.approx(network["test"]["teacher"][figure], abs=1e-4)
        assert onnx_report["test"]["student"][figure] == pytest.approx(network["test"]["student"][figure], abs=0.05)


def test_a_data_set_without_validation_rows_hands_out_the_last_epoch(tmp_path: Path, image_teacher: Taught) -> None:
    tensors, meta = orders.digits()
    tensors = {
        **tensors,
        "split": torch.where(tensors["split"] == 1, torch.zeros_like(tensors["split"]), tensors["split"]),
    }
    counts = {"train": int((tensors["split"] == 0).sum()), "val": 0, "test": 150}
    data: tuple[dict[str, Tensor], DatasetMeta] = tensors, meta.model_copy(update={"counts": counts})
    trained = run(orders.make_workdir(tmp_path, data, image_teacher, orders.spec(train={"epochs": 2})), tmp_path)
    assert trained.report["selected_epoch"] == 2
    assert trained.report["val"]["student"] == {}
    assert trained.report["test"]["student"]["accuracy"] > 0.5


def test_a_batch_of_one_row_is_refused_where_the_student_normalises_batches(
    tmp_path: Path, digits: Data, image_teacher: Taught
) -> None:
    from core.errors import UserConfig

    spec = orders.spec(train={"batch_size": 1})
    with pytest.raises(UserConfig, match="batches of one") as caught:
        run(orders.make_workdir(tmp_path, digits, image_teacher, spec), tmp_path)
    assert caught.value.errors[0].pointer == "/train/batch_size"


def test_figures_of_the_report_are_plain_numbers(tmp_path: Path, digits: Data, image_teacher: Taught) -> None:
    trained = run(orders.make_workdir(tmp_path, digits, image_teacher, orders.spec(train={"epochs": 1})), tmp_path)
    shares = trained.report["test"]["accuracy_by_class"]
    test_y = digits[0]["y"][digits[0]["split"] == 2].numpy()
    rows = np.bincount(test_y, minlength=10)
    overall = sum(share * n for share, n in zip(shares.values(), rows, strict=True)) / rows.sum()
    assert overall == pytest.approx(trained.report["test"]["student"]["accuracy"])

"""ONNX graphs that lead out of the file, cost without end, or break who reads them; and good ones."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scripts.corpus.case import GRAPH, Canary, Case

_FLOAT = TensorProto.FLOAT


def cases(canary: Canary) -> Iterator[Case]:
    """All of this file."""
    for name, make in (_outside(canary) | _foreign()).items():
        yield Case("ONNX: other files, functions, domains", name, partial(_bytes, make), spec=GRAPH)
    for name, make in _bombs().items():
        yield Case("ONNX: graphs that cost without end", name, partial(_bytes, make), spec=GRAPH, by_limit=True)
    for name, broken in _broken().items():
        yield Case("ONNX: broken graphs", name, broken, spec=GRAPH)
    yield from good()


def good() -> Iterator[Case]:
    """What has to be accepted."""
    for name, make in _good().items():
        yield Case("good graphs", name, partial(_bytes, make), spec=GRAPH, expected="accepted")


def _bytes(make: Callable[[], ModelProto]) -> bytes:
    return bytes(make().SerializeToString())


def _stored(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(0).standard_normal(shape).astype(np.float32), name)


def _ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def linear(extra: Sequence[NodeProto] = (), stored: Sequence[TensorProto] = (), last: str = "z") -> ModelProto:
    """Four features, five hidden, three scores `z`; `extra` follows and makes `last`."""
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "V"], ["z"]),
        *extra,
    ]
    weights = [_stored("W", 4, 5), _stored("b", 5), _stored("V", 5, 3), *stored]
    return _model(nodes, weights, last)


def _model(nodes: Sequence[NodeProto], stored: Sequence[TensorProto], last: str) -> ModelProto:
    ends = [helper.make_tensor_value_info(name, _FLOAT, ["N", width]) for name, width in (("x", 4), (last, None))]
    made = helper.make_graph(nodes, "made", ends[:1], ends[1:], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _external(location: str, **entries: str) -> ModelProto:
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def _outside(canary: Canary) -> dict[str, Callable[[], ModelProto]]:
    def in_constant() -> ModelProto:
        held = _external("/etc/passwd").graph.initializer[0]
        node = helper.make_node("Constant", [], ["c"], value=held)
        return linear([node, helper.make_node("Add", ["z", "c"], ["y"])], last="y")

    def in_branch() -> ModelProto:
        branch = helper.make_graph([], "b", [], [], [_external("/etc/shadow").graph.initializer[0]])
        return linear([_if(branch)], [_true()], "y")

    def unmarked() -> ModelProto:
        model = _external("/etc/passwd")
        model.graph.initializer[0].data_location = TensorProto.DEFAULT
        return model

    return {
        "weights at an absolute path": partial(_external, "/etc/passwd"),
        "weights at a path upwards": partial(_external, "../../../etc/passwd"),
        "weights in a file beside it": partial(_external, "weights.bin", offset="0", length="80"),
        "weights in the upload itself": partial(_external, "upload", offset="0", length="80"),
        "weights by an environment variable": partial(_external, "$HOME/.ssh/id_rsa"),
        "weights at a file URL": partial(_external, f"file://{canary.outside}"),
        "weights at a URL": partial(_external, f"http://127.0.0.1:{canary.port}/w"),
        "weights at a device": partial(_external, "/dev/zero"),
        "weights with attributes of a class": partial(_external, "w", __class__="os", basepath="/etc"),
        "weights at a path with a NUL": partial(_external, "weights.bin\0/etc/passwd"),
        "a constant that lies outside": in_constant,
        "a branch that lies outside": in_branch,
        "external data not said to be so": unmarked,
    }


def _true() -> TensorProto:
    return numpy_helper.from_array(np.array(True), "yes")


def _if(branch: GraphProto) -> NodeProto:
    return helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)


def _foreign() -> dict[str, Callable[[], ModelProto]]:
    def domain(name: str, op: str) -> ModelProto:
        model = linear([helper.make_node(op, ["z"], ["y"], domain=name)], last="y")
        model.opset_import.append(helper.make_opsetid(name, 1))
        return model

    def function() -> ModelProto:
        model = linear([helper.make_node("Own", ["z"], ["y"], domain="own")], last="y")
        body = [helper.make_node("Relu", ["i"], ["o"])]
        opsets = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", "Own", ["i"], ["o"], body, opsets))
        model.opset_import.append(helper.make_opsetid("own", 1))
        return model

    def training() -> ModelProto:
        model = linear()
        model.training_info.add().algorithm.CopyFrom(model.graph)
        return model

    def undeclared() -> ModelProto:
        return linear([helper.make_node("PyOp", ["z"], ["y"], domain="ai.onnx.contrib", code="import os")], last="y")

    def two_inputs() -> ModelProto:
        model = linear()
        model.graph.input.append(helper.make_tensor_value_info("x2", _FLOAT, ["N", 4]))
        return model

    def strings() -> ModelProto:
        model = linear()
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
        return model

    return {
        "Python operators": partial(domain, "ai.onnx.contrib", "PyOp"),
        "Microsoft's operators": partial(domain, "com.microsoft", "Gelu"),
        "ATen": partial(domain, "org.pytorch.aten", "ATen"),
        "a domain that nobody declares": undeclared,
        "a function": function,
        "training steps": training,
        "a random answer": lambda: linear([helper.make_node("RandomNormalLike", ["z"], ["y"])], last="y"),
        "two inputs": two_inputs,
        "an input of text": strings,
    }


def _filled(*shape: int) -> ModelProto:
    """Adds the sum of a tensor that the graph makes of nothing."""
    nodes = [
        helper.make_node(
            "ConstantOfShape", ["shape"], ["filled"], value=numpy_helper.from_array(np.ones(1, np.float32))
        ),
        helper.make_node("ReduceMax", ["filled"], ["top"], keepdims=0),
        helper.make_node("Add", ["z", "top"], ["y"]),
    ]
    return linear(nodes, [_ints("shape", *shape)], "y")


def _loop(trips: int) -> ModelProto:
    """Runs a body that does nothing, again and again."""
    cond = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    step = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    carried, out = (helper.make_tensor_value_info(name, _FLOAT, None) for name in ("v", "w"))
    still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    nodes = [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Identity", ["v"], ["w"])]
    body = helper.make_graph(nodes, "body", [step, cond, carried], [still, out])
    node = helper.make_node("Loop", ["trips", "yes", "z"], ["y"], body=body)
    return linear([node], [numpy_helper.from_array(np.array(trips, np.int64), "trips"), _true()], "y")


def _bombs() -> dict[str, Callable[[], ModelProto]]:
    def doubling() -> ModelProto:
        names = ["z", *(f"d{i}" for i in range(40))]
        nodes = [helper.make_node("Concat", [a, a], [b], axis=1) for a, b in pairwise(names)]
        return linear(nodes, last=names[-1])

    def chain(num: int) -> ModelProto:
        names = ["z", *(f"n{i}" for i in range(num))]
        nodes = [helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)]
        return linear(nodes, last=names[-1])

    def nested() -> ModelProto:
        leaf = helper.make_tensor_value_info("z", _FLOAT, None)
        branch = helper.make_graph([helper.make_node("Identity", ["z"], ["o"])], "b", [], [leaf])
        branch.output[0].name = "o"
        for depth in range(60):
            node = helper.make_node("If", ["yes"], [f"o{depth}"], then_branch=branch, else_branch=branch)
            out = helper.make_tensor_value_info(f"o{depth}", _FLOAT, None)
            branch = helper.make_graph([node], f"b{depth}", [], [out])
            if branch.ByteSize() > 20_000_000:
                break
        return linear([_if(branch)], [_true()], "y")

    def expanded() -> ModelProto:
        nodes = [
            helper.make_node("Expand", ["z", "shape"], ["big"]),
            helper.make_node("ReduceSum", ["big", "axes"], ["y"], keepdims=0),
        ]
        return linear(nodes, [_ints("shape", 2**20, 2**20, 1, 3), _ints("axes", 0, 1)], "y")

    return {
        "16 GiB of ones": partial(_filled, 2**16, 2**16),
        "a tensor of 2^80 numbers": partial(_filled, 2**40, 2**40),
        "a loop of 2^62 rounds": partial(_loop, 2**62),
        "forty doublings": doubling,
        "sixty thousand nodes": partial(chain, 60_000),
        "branches in branches": nested,
        "terabytes by Expand": expanded,
        "terabytes by Range": lambda: linear(
            [helper.make_node("Range", ["from", "to", "by"], ["r"]),
             helper.make_node("ReduceMax", ["r"], ["m"], keepdims=0),
             helper.make_node("Cast", ["m"], ["f"], to=1), helper.make_node("Add", ["z", "f"], ["y"])],
            [numpy_helper.from_array(np.array(v, np.int64), n)
             for n, v in (("from", 0), ("to", 2**40), ("by", 1))], "y"),
    }  # fmt: skip


def _broken() -> dict[str, Callable[[], bytes]]:
    def changed(change: Callable[[ModelProto], Any]) -> Callable[[], bytes]:
        model = linear()
        change(model)
        return partial(_bytes, lambda: model)

    def cyclic(model: ModelProto) -> None:
        model.graph.node[0].input[0] = "z"

    def lies(model: ModelProto) -> None:
        model.graph.initializer[0].dims[0] = 2**40

    def negative(model: ModelProto) -> None:
        model.graph.initializer[0].dims[0] = -4

    def huge_name(model: ModelProto) -> None:
        model.graph.input[0].name = "x\0\n" * 10

    def self_referring(model: ModelProto) -> None:
        model.graph.node[0].attribute.append(AttributeProto(name="g", type=AttributeProto.GRAPH, g=model.graph))

    whole = _bytes(linear)
    return {
        "cut off": lambda: whole[:-20],
        "a cycle": changed(cyclic),
        "weights of a terabyte that are not there": changed(lies),
        "weights of a negative shape": changed(negative),
        "control characters in a name": changed(huge_name),
        "a graph that holds itself": changed(self_referring),
        "an unknown operator": changed(lambda m: setattr(m.graph.node[1], "op_type", "NoSuchOp")),
        "an operator of the future": changed(lambda m: setattr(m.opset_import[0], "version", 9999)),
        "no nodes": changed(lambda m: m.graph.ClearField("node")),
        "no graph": lambda: b"\x08\x08\x12\x00" + bytes(8),
        "messages a thousand deep": lambda: b"\x08\x08" + _deep(1000),
        "not a graph at all": lambda: b"\x08\x07\x12\x04\x08\x01\xff\xff",
    }


def _deep(levels: int) -> bytes:
    """GraphProto in AttributeProto in NodeProto in GraphProto ... (onnx.proto3: 7; 1, 5, 6)."""
    inner = b""
    for _ in range(levels):
        for field in (6, 5, 1):
            inner = bytes((field << 3 | 2,)) + _varint(len(inner)) + inner
    return b"\x3a" + _varint(len(inner)) + inner


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _good() -> dict[str, Callable[[], ModelProto]]:
    return {
        "linear": linear,
        "ending in softmax": lambda: linear([helper.make_node("Softmax", ["z"], ["y"], axis=1)], last="y"),
        "with a short loop": partial(_loop, 3),
        "with a loop of no round": partial(_loop, -1),
        "with a constant": lambda: linear(
            [
                helper.make_node("Constant", [], ["c"], value=_stored("c", 3)),
                helper.make_node("Add", ["z", "c"], ["y"]),
            ],
            last="y",
        ),
    }

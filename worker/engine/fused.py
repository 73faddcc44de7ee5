"""A frozen network on the CPU whose convolutions do what follows them in the same pass: ReLU, or a sum and its ReLU.

On its own each of these reads and writes a whole map, which takes as long as a convolution of few channels. The kernels
are those of oneDNN that torch's compiler uses on the CPU; called as they are, they need no compiler and no time for it.
The sum is rounded once and not twice, so answers differ in the last bits of bfloat16.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from worker.engine.networks import Network

_RELU, _ADD = {F.relu, torch.relu, torch.relu_}, {operator.add, torch.add}
#: How far its answers may be from those of the network as it was: root mean square of the difference, by theirs.
_MAX_ERROR = 0.05


class _OnePass(nn.Module):
    """A convolution and what follows it."""

    def __init__(self, conv: nn.Conv2d, *, rectified: bool) -> None:
        super().__init__()
        self._conv, self._rectified = conv, rectified
        self._how = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Of x (N, C, H, W); `beside`, as large as the result, is added to it first."""
        weight, bias, run = self._conv.weight, self._conv.bias, torch.ops.mkldnn._convolution_pointwise
        then = "relu" if self._rectified else None
        said: Tensor
        if beside is None:
            said = run(x, weight, bias, *self._how, then or "none", [], "")
        else:
            said = run.binary(x, beside, weight, bias, *self._how, "add", 1.0, then, [], "")
        return said


def fused(network: Network, x: Tensor) -> Network | None:
    """The network in fewer passes; its convolutions are shared, not copied. None where it would not be the same.

    x (N, C, H, W) is a few samples as it takes them, which it is tried on. A network that is not on the CPU, cannot be
    read as a graph or has no such convolution stays as it is.
    """
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        graph = fx.symbolic_trace(network.module).graph
        parts = dict(network.module.named_modules())
        made = _rewritten(network.module, graph, parts)
        if made is None:
            return None
        with torch.no_grad():
            expected, said = network.module(x).float(), made(x).float()
            made(x[:1])  # one row alone has strides that could be those of either memory order
    except Exception:  # what cannot be traced, or is of shapes that the kernels do not take, fails in any way
        return None
    if network.head not in dict(made.named_modules()) or not bool(
        (said - expected).norm() <= _MAX_ERROR * expected.norm()
    ):
        return None
    return Network(made, network.head, network.stages)


def _rewritten(module: nn.Module, graph: fx.Graph, parts: dict[str, nn.Module]) -> nn.Module | None:
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(parts[node.target], nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    passes: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        if _is_sum(node):
            beside = [_takes_sum(each, parts) for each in node.args]
            if any(beside):
                at = beside.index(True)
                _join(graph, node.args[at], node, node.args[1 - at], parts, passes)
        elif _is_relu(node, parts) and node.args and _is_conv(conv := node.args[0], parts) and len(conv.users) == 1:
            _join(graph, conv, node, None, parts, passes)
    if not passes:
        return None
    root: dict[str, Any] = {**{name: part for name, part in parts.items() if name}, **passes}
    attributes = {node.target for node in graph.nodes if node.op == "get_attr"}
    root |= {name: operator.attrgetter(name)(module) for name in attributes}
    return fx.GraphModule(root, graph).eval()


def _join(
    graph: fx.Graph, conv: Any, last: fx.Node, beside: Any, parts: dict[str, nn.Module], passes: dict[str, nn.Module]
) -> None:
    """Put a convolution and the nodes after it, up to `last` and its ReLU, into one."""
    users = list(last.users)
    rectified = beside is None or (len(users) == 1 and _is_relu(users[0], parts))
    end = users[0] if beside is not None and rectified else last
    name = f"one_pass_{len(passes)}"
    kept = parts[conv.target]
    assert isinstance(kept, nn.Conv2d)
    passes[name] = _OnePass(kept, rectified=rectified)
    with graph.inserting_after(end):
        made = graph.create_node("call_module", name, (conv.args[0],) if beside is None else (conv.args[0], beside))
    end.replace_all_uses_with(made)
    for node in dict.fromkeys((end, last, conv)):
        graph.erase_node(node)


def _is_conv(node: Any, parts: dict[str, nn.Module]) -> bool:
    part = parts.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None
    return isinstance(part, nn.Conv2d) and isinstance(part.padding, tuple) and part.padding_mode == "zeros"


def _takes_sum(node: Any, parts: dict[str, nn.Module]) -> bool:
    """Whether a sum can be done in the pass of this convolution: oneDNN has that for one group, channels last."""
    if not _is_conv(node, parts) or len(node.users) != 1:
        return False
    conv = parts[node.target]
    assert isinstance(conv, nn.Conv2d)
    return conv.groups == 1 and conv.weight.is_contiguous(memory_format=torch.channels_last)


def _is_relu(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(parts.get(str(node.target)), nn.ReLU)
    return node.op == "call_function" and node.target in _RELU


def _is_sum(node: fx.Node) -> bool:
    is_add = node.op == "call_function" and node.target in _ADD and not node.kwargs
    return is_add and len(node.args) == 2 and all(isinstance(each, fx.Node) for each in node.args)

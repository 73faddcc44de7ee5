"""A frozen network for quick answers: batch norms folded into the convolutions before them, weights held in bfloat16.

Under autocast the weights of a frozen network would be cast anew at each step, and each batch norm would read and write
its whole map. Folding is done in float32: w * gamma / sqrt(var + eps), Jacob et al. 2018, arXiv:1712.05877, section
3.2.
"""

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from worker.engine.networks import Network

#: Modules with weights whose autocast is in bfloat16 as a whole, so that held weights give what casts would.
_HELD = nn.Conv2d | nn.Linear


def folded(network: Network) -> Network | None:
    """A copy that computes in bfloat16 from bfloat16 inputs; None where it would not be the same network.

    That is where it cannot be read as a graph, or has weights other than those of convolutions, linear layers and batch
    norms that follow a convolution.
    """
    module = copy.deepcopy(network.module).eval()
    for conv, norm in _pairs(module):
        _fold(module, conv, norm)
    if any(_has_own_tensors(part) and not isinstance(part, _HELD) for part in module.modules()):
        return None
    module.requires_grad_(False).to(torch.bfloat16)
    return Network(module, network.head, network.stages)


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Convolutions by path, each with the batch norm that alone reads it."""
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception:  # what cannot be traced fails in any way
        return []
    parts = dict(module.named_modules())
    found = []
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = parts[str(before.target)], parts[str(node.target)]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            found.append((str(before.target), str(node.target)))
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    # A module that is called twice has one set of weights for two places.
    return [pair for pair in found if all(calls.count(name) == 1 for name in pair)]


def _fold(module: nn.Module, conv_path: str, norm_path: str) -> None:
    conv, norm = module.get_submodule(conv_path), module.get_submodule(norm_path)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    parent, _, name = norm_path.rpartition(".")
    setattr(module.get_submodule(parent), name, nn.Identity())


def _has_own_tensors(part: nn.Module) -> bool:
    return any(True for _ in part.parameters(recurse=False)) or any(True for _ in part.buffers(recurse=False))

"""Reads features and the embedding off a network while it runs, by forward hooks on module paths.

Paths are those of the bare network: compiling it or wrapping it for several devices does not change them.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.compiled import Compiled
from worker.engine.networks import Network, evaluating
from worker.engine.objective import Needs
from worker.engine.outputs import Outputs
from worker.engine.perceptron import Perceptron

_COMPILED = "_orig_mod"


class Tapped:
    """Calls a network and hands out what was asked for: logits, features by tap, and the embedding.

    Stages are handed out channels first; outputs of other modules as the network has them.
    """

    def __init__(self, network: Network, taps: Iterable[str] = (), *, embedding: bool = False) -> None:
        self.module = network.module
        self._called: Callable[[Tensor], Tensor] = network.module
        self._chain = network.chain
        self._by_formula: Perceptron | None = None
        self._features: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}
        self._copied: set[str] = set()
        self._embedding: Tensor | None = None
        paths = modules_by_path(network.module)
        self._turned = turned_stages(network)
        self._hooks = [paths[name].register_forward_hook(self._keep(name)) for name in dict.fromkeys(taps)]
        if embedding:
            self._hooks.append(paths[network.head].register_forward_pre_hook(self._keep_embedding))

    def __call__(self, x: Tensor) -> Outputs:
        """The outputs for x (N, ...)."""
        if self._by_formula is not None:
            logits, add_gradient = self._by_formula(x)
            return Outputs(logits, add_gradient=add_gradient)
        self._features, self._embedding = {}, None
        logits = self._called(x)
        outputs = Outputs(logits, self._features, self._embedding)
        # Nothing stays behind: a kept graph would hold the memory of its step.
        self._features, self._embedding = {}, None
        return outputs

    def compile(self) -> None:
        """Compile what is called, where nothing is read inside; the module itself, and its names, stay as they are."""
        if not self._hooks:
            self._called = Compiled(self.module)

    def take_formula(self) -> None:
        """Have forward and backward pass by formula, where the network has one and nothing is read inside.

        From then on nothing else reaches the parameters than the outputs' own `add_gradient`.
        """
        if self._chain and not self._hooks:
            self._by_formula = Perceptron(self._chain)

    def close(self) -> None:
        """Leave the network without hooks."""
        for hook in self._hooks:
            hook.remove()

    def copy_what_changes(self, x: Tensor) -> None:
        """Finds taps that a later layer overwrites in place (a ReLU on a tapped batch norm); those are copied from now.

        Without this, such a tap would quietly give another layer's output.
        """
        with torch.no_grad():
            self._features = {}
            self.module(x)
        kept, self._features, self._embedding = self._features, {}, None
        self._copied |= {name for name, feature in kept.items() if feature._version != self._versions[name]}

    def _keep(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            feature = output if isinstance(output, Tensor) else output[0]
            if name in self._turned and feature.ndim == 4:
                feature = feature.permute(0, 3, 1, 2)
            self._features[name] = feature.clone() if name in self._copied else feature
            self._versions[name] = feature._version

        return hook

    def _keep_embedding(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._embedding = inputs[0].flatten(1)


def tap(network: Network, wanted: Needs, x: Tensor) -> Tapped:
    """The network with hooks for what is wanted; x (N, ...) is a few samples as it takes them."""
    tapped = Tapped(network, wanted.taps, embedding=wanted.embedding)
    if wanted.taps:
        with evaluating(network.module):
            tapped.copy_what_changes(x)
    return tapped


def modules_by_path(module: nn.Module) -> dict[str, nn.Module]:
    """Every module by its path in the bare network."""
    return {_bare(path): part for path, part in unwrapped(module).named_modules() if path}


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside of torch.compile and of data-parallel wrappers."""
    while True:
        inner = getattr(module, _COMPILED, None)
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            return module
        module = inner


def turned_stages(network: Network) -> set[str]:
    """The stages that keep their maps channels last: of networks that say so, as transformers of timm on maps do."""
    turned = str(getattr(unwrapped(network.module), "output_fmt", "")) == "NHWC"
    return set(network.stages) if turned else set()


def _bare(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != _COMPILED)

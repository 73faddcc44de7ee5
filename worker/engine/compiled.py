"""A network through torch.compile, and as it is where that cannot be done: without a compiler, say."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from worker.engine.batch_norm import join

log = logging.getLogger(__name__)


class Compiled:
    """Calls the network. Shapes are taken as fixed: a last, smaller batch is compiled for itself."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._on_gpu, self._is_proven = next(module.parameters()).device.type == "cuda", False
        with unheard():
            # On a GPU the whole step is recorded as a CUDA graph and replayed.
            mode = "reduce-overhead" if self._on_gpu else "default"
            self._compiled: Callable[[Tensor], Tensor] | None = compiled(module, mode)

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs for x (N, ...)."""
        if self._compiled is None:
            return self._plain(x)
        if self._on_gpu:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            with nullcontext() if self._is_proven else unheard():
                said: Tensor = self._compiled(x)
        except Exception as error:  # compilers fail in ways of their own
            if self._is_proven:
                raise
            log.warning("the network is not compiled: %s", str(error).partition("\n")[0])
            self._compiled = None
            return self._plain(x)
        self._is_proven = True
        # A graph that is replayed writes over what it gave before.
        return said.clone() if self._on_gpu else said

    def _plain(self, x: Tensor) -> Tensor:
        said: Tensor = self._module(x)
        return said


def compiled(module: nn.Module, mode: str = "default") -> Callable[[Tensor], Tensor]:
    """The network as torch.compile makes it at the first call, for fixed shapes; errors are the compiler's own."""
    if next(module.parameters()).device.type == "cpu":
        join(module)
    called: Callable[[Tensor], Tensor] = torch.compile(module, dynamic=False, mode=mode)
    return called


@contextmanager
def unheard() -> Iterator[None]:
    """While something is compiled, torch warns of its own deprecated parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

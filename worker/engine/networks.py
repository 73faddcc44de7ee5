"""From an entry of the menu to a network, and what is to be known of it.

`{"type": "resnet"}` is built by worker/students/resnet.py. A family refuses a config that cannot work with
`ValueError(sentence)` or `ValueError(sentence, field)`; here that becomes an error that points into the spec.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from core.errors import Rejected, UserConfig
from models.spec.students import Student, config

#: Past this many parameters a network does not fit beside its gradients and moments (16 bytes each) in 64 GB.
MAX_PARAMETERS = 4_000_000_000


@dataclass(frozen=True)
class Network:
    """A network and its named points.

    head: path of the last linear layer, whose input is the embedding. stages: paths of the modules whose outputs are
    the stage features, shallow to deep.
    """

    module: nn.Module
    head: str
    stages: list[str] = field(default_factory=list)


def family(architecture: Student) -> ModuleType:
    """The file that builds the architecture."""
    return import_module(f"worker.students.{architecture.model_dump()['type']}")


def build_network(
    architecture: Student, in_shape: tuple[int, ...], num_outputs: int, *, pointer: str = "/student"
) -> Network:
    """The network with fresh weights, drawn from torch's generator, on the CPU and in train mode.

    It is first built without memory, to refuse what cannot be: UserConfig, with the field under `pointer`.
    """
    with torch.device("meta"):
        sketch = _construct(architecture, in_shape, num_outputs, pointer)
    _refuse_too_large(sketch, pointer)
    _refuse_misfit(sketch, in_shape, num_outputs, pointer)
    module = _construct(architecture, in_shape, num_outputs, pointer)
    made_by = family(architecture)
    return Network(module, made_by.head(module), made_by.stages(module))


def infer_io(architecture: Student, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Input channels (or features) and outputs of a state_dict that should fit the architecture. Raises Rejected."""
    try:
        inputs, outputs = family(architecture).infer(shapes, config(architecture))
    except (KeyError, IndexError) as error:
        raise Rejected(
            f"the checkpoint does not fit the architecture: it has no usable {error.args[0]!r}", code="missing_keys"
        ) from error
    return int(inputs), int(outputs)


def count_parameters(module: nn.Module) -> int:
    """Trainable numbers; buffers, such as the statistics of batch norm, are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(module: nn.Module, in_shape: tuple[int, ...]) -> int:
    """Floating point operations for one sample, a multiplication and an addition being two. Computes nothing."""
    with FlopCounterMode(display=False) as counter:
        _trace(module, in_shape)
    return int(counter.get_total_flops())


def _construct(architecture: Student, in_shape: tuple[int, ...], num_outputs: int, pointer: str) -> nn.Module:
    try:
        module: nn.Module = family(architecture).build(in_shape, num_outputs, **config(architecture))
    except ValueError as error:
        sentence, *fields = error.args
        raise UserConfig.at("/".join([pointer, *fields]), str(sentence), code="network") from error
    return module


def _refuse_too_large(sketch: nn.Module, pointer: str) -> None:
    if (count := count_parameters(sketch)) > MAX_PARAMETERS:
        raise UserConfig.at(
            pointer,
            f"this network has {count:.2g} parameters, more than the {MAX_PARAMETERS:.2g} that can be trained here: "
            "choose a smaller depth or width",
            code="network_too_large",
        )


def _refuse_misfit(module: nn.Module, in_shape: tuple[int, ...], num_outputs: int, pointer: str) -> None:
    try:
        shape = tuple(_trace(module, in_shape).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserConfig.at(
            pointer, f"this network cannot take inputs of shape {list(in_shape)}: {error}", code="network_input"
        ) from error
    if shape != (1, num_outputs):
        raise UserConfig.at(
            pointer, f"this network gives {list(shape[1:])} a sample, the task needs [{num_outputs}]", code="network"
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, for a while; each submodule then has the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _trace(module: nn.Module, in_shape: tuple[int, ...]) -> Tensor:
    """The output for one sample, as a shape without numbers."""
    state = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    with evaluating(module), torch.device("meta"):
        out: Tensor = functional_call(module, state, torch.empty(1, *in_shape))
    return out

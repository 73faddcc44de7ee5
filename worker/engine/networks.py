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
from worker.engine.noise import blank

#: With its gradients and moments, 16 bytes each, a network of this size takes 32 GB.
MAX_PARAMETERS = 2_000_000_000


@dataclass(frozen=True)
class Network:
    """A network and its named points.

    head: path of the last linear layer, whose input is the embedding. stages: paths of the modules whose outputs are
    the stage features, shallow to deep. chain: where the network is linear layers with ReLU alone between them, these.
    """

    module: nn.Module
    head: str
    stages: list[str] = field(default_factory=list)
    chain: list[nn.Linear] = field(default_factory=list)


def family(kind: str) -> ModuleType:
    """The file that builds the architectures of one type."""
    return import_module(f"worker.students.{kind}")


def build_network(
    architecture: Student, in_shape: tuple[int, ...], num_outputs: int, *, pointer: str = "/student"
) -> Network:
    """The network with fresh weights, drawn from torch's generator, on the CPU and in train mode.

    It is first built without memory, to refuse what cannot be: UserConfig, with the field under `pointer`.
    """
    made_by = family(architecture.type)
    with _pointing_into_the_spec(pointer):
        with torch.device("meta"):
            sketch = made_by.build(in_shape, num_outputs, **config(architecture))
        _refuse_too_large(sketch)
        _refuse_misfit(sketch, in_shape, num_outputs)
        module = made_by.build(in_shape, num_outputs, **config(architecture))
        chain = made_by.chain(module) if hasattr(made_by, "chain") else []
        return Network(module, made_by.head(module), made_by.stages(module), chain)


def infer_io(architecture: Student, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Input channels (or features) and outputs of a state_dict that should fit the architecture. Raises Rejected."""
    try:
        inputs, outputs = family(architecture.type).infer(shapes, config(architecture))
    except KeyError as error:
        sentence = f"the checkpoint does not fit the architecture: it has no tensor {error.args[0]!r}"
        raise Rejected(sentence, code="missing_keys") from error
    except IndexError as error:
        sentence = "the checkpoint does not fit the architecture: its first or last tensor has too few dimensions"
        raise Rejected(sentence, code="wrong_shapes") from error
    except ValueError as error:
        raise Rejected(str(error.args[0]), code="architecture") from error
    return int(inputs), int(outputs)


def count_parameters(module: nn.Module) -> int:
    """Trainable numbers; buffers, such as the statistics of batch norm, are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(module: nn.Module, in_shape: tuple[int, ...]) -> int:
    """Floating point operations for one sample, a multiplication and an addition being two. Computes nothing."""
    with FlopCounterMode(display=False) as counter:
        _trace(module, in_shape)
    return int(counter.get_total_flops())


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


@contextmanager
def _pointing_into_the_spec(pointer: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        sentence, *fields = error.args
        raise UserConfig.at("/".join([pointer, *map(str, fields)]), str(sentence), code="network") from error


def _refuse_too_large(sketch: nn.Module) -> None:
    if (count := count_parameters(sketch)) > MAX_PARAMETERS:
        raise ValueError(
            f"this network has {count:.2g} parameters, more than the {MAX_PARAMETERS:.2g} that can be trained here: "
            "choose a smaller depth or width"
        )


def _refuse_misfit(sketch: nn.Module, in_shape: tuple[int, ...], num_outputs: int) -> None:
    try:
        shape = list(_trace(sketch, in_shape).shape[1:])
    except Exception as error:  # A library's network answers what it cannot take with any kind of exception.
        reason = str(error) or type(error).__name__
        raise ValueError(f"this network cannot take inputs of shape {list(in_shape)}: {reason}") from error
    if shape != [num_outputs]:
        raise ValueError(f"this network gives {shape} for one sample, where the task needs [{num_outputs}]")


def _trace(module: nn.Module, in_shape: tuple[int, ...]) -> Tensor:
    """The output for one sample, as a shape without numbers."""
    state = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    with evaluating(module), torch.device("meta"):
        out: Tensor = functional_call(module, state, blank(in_shape))
    return out

"""Weights meet the architecture that they are said to be for: names, shapes, then one pass on noise.

What does not fit is listed as a strict load would list it, and the nearest entry of the menu is named.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import Problem, Rejected, UserConfig
from models.canonical import Tap
from models.spec.shapes import kind_of
from models.spec.students import Student, config
from worker.engine.nearest import nearest
from worker.engine.networks import Network, build_network, count_flops, evaluating, family, infer_io
from worker.engine.noise import noise
from worker.engine.taps import turned_stages
from worker.intake.keys import Weights
from worker.intake.report import Report

Shape = tuple[int, ...]

#: Heights and widths to try where neither the user nor the architecture names one.
_SIDES = (32, 28, 64, 8, 224)
#: How many tokens to try; any text within a network's positions can be read.
_TOKENS = 4
#: Counted by batch norm since torch 0.4.1, and of no use to a trained network.
_COUNTER = "num_batches_tracked"
#: The numbers 0, 1, 2 ... that transformers stored before 4.31.
_PLACES = "embeddings.position_ids"
_LISTED = 200
_NAMED = 3


@dataclass
class Misfit:
    """How weights and a network differ: names, and (name, expected shape, found shape)."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[tuple[str, Shape, Shape]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def as_dict(self) -> dict[str, Any]:
        """For the report: as many of each as a person can use."""
        return {
            "missing": self.missing[:_LISTED],
            "unexpected": self.unexpected[:_LISTED],
            "misshapen": [
                {"name": name, "expected": list(expected), "found": list(found)}
                for name, expected, found in self.misshapen[:_LISTED]
            ],
        }

    def sentence(self) -> str:
        """The same in words, with the first few names."""
        shapes = [f"{name} should be {list(want)} and is {list(got)}" for name, want, got in self.misshapen[:_NAMED]]
        parts = [
            f"{len(self.missing)} missing ({_first(self.missing)})" if self.missing else "",
            f"{len(self.unexpected)} unexpected ({_first(self.unexpected)})" if self.unexpected else "",
            f"{len(self.misshapen)} of another shape ({'; '.join(shapes)})" if shapes else "",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Fitted:
    """A network with the uploaded weights in it, in evaluation mode."""

    network: Network
    in_shape: Shape
    num_outputs: int
    #: False where only inputs of `in_shape` can go in.
    any_size: bool
    taps: list[Tap]


def fit(architecture: Student, weights: Weights, sizes: list[tuple[int, int]], report: Report) -> Fitted:
    """Build the architecture around the weights. `sizes` are those to try first.

    Raises Rejected: `does_not_fit`, with the lists in the report; `not_finite` where noise gives no finite scores.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        inputs, num_outputs = infer_io(architecture, shapes)
    except Rejected as error:
        misfit = _names_alone(architecture, shapes)
        if not misfit:  # no such architecture, or tensors that are none of a network
            raise Rejected.at("/architecture", error.detail, code=error.code) from None
        raise _does_not_fit(architecture, shapes, misfit, report) from None
    in_shapes = _input_shapes(architecture, shapes, inputs, sizes)
    network, in_shape = _find_size(architecture, shapes, num_outputs, in_shapes, report)
    _load(network.module, weights)
    taps = _try(network, in_shape, num_outputs)
    return Fitted(network, in_shape, num_outputs, _takes_any_size(network.module, in_shape), taps)


def _does_not_fit(architecture: Student, shapes: Mapping[str, Shape], misfit: Misfit, report: Report) -> Rejected:
    """The verdict, with the nearest architecture and what to do."""
    near = [str(entry) for entry in nearest(shapes)]
    report.figures |= misfit.as_dict() | {"nearest": near}
    hint = f" The nearest architecture on the menu is {near[0]}." if near else ""
    message = f"the checkpoint does not fit the architecture {architecture.type}: {misfit.sentence()}"
    return Rejected(
        f"{message[0].upper()}{message[1:]}.{hint} Name the right architecture, or map the names with rename: "
        "[[pattern, replacement], ...].",
        code="does_not_fit",
        errors=[Problem("/architecture", message)],
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _names_alone(architecture: Student, shapes: Mapping[str, Shape]) -> Misfit:
    """The names that differ, for weights of which not even the number of inputs and outputs can be read off."""
    for in_shape in ((3, 32, 32), (3, 224, 224), (8,), (8, _TOKENS)):
        with suppress(Rejected):
            wanted = _sketch(architecture, in_shape, 10)
            return _compare({name: shapes.get(name, shape) for name, shape in wanted.items()}, shapes)
    return Misfit()


def _find_size(
    architecture: Student,
    shapes: Mapping[str, Shape],
    num_outputs: int,
    in_shapes: Iterator[Shape],
    report: Report,
) -> tuple[Network, Shape]:
    """The network for the first input shape whose weights have the shapes that were uploaded."""
    misfits: list[Misfit] = []
    refusals: list[Rejected] = []
    for in_shape in in_shapes:
        try:
            misfits.append(_compare(_sketch(architecture, in_shape, num_outputs), shapes))
            if not misfits[-1]:
                return build_network(architecture, in_shape, num_outputs, pointer="/architecture"), in_shape
        except (Rejected, UserConfig) as error:
            refusals.append(Rejected(error.detail, code=error.code, errors=error.errors))
    if found := [misfit for misfit in misfits if misfit]:
        raise _does_not_fit(architecture, shapes, min(found, key=len), report)
    raise refusals[0]


def _sketch(architecture: Student, in_shape: Shape, num_outputs: int) -> dict[str, Shape]:
    """Names and shapes of the architecture's tensors, built without memory."""
    try:
        with torch.device("meta"):
            net = family(architecture.type).build(in_shape, num_outputs, **config(architecture))
    except ValueError as error:
        sentence, *fields = error.args
        pointer = "/".join(["/architecture", *map(str, fields)])
        raise Rejected.at(pointer, str(sentence), code="network") from None
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _input_shapes(
    architecture: Student, shapes: Mapping[str, Shape], inputs: int, sizes: list[tuple[int, int]]
) -> Iterator[Shape]:
    """Texts where it takes them; images where it takes nothing else, or where anything is a convolution; else rows."""
    if "text" in architecture.takes:
        yield (inputs, _TOKENS)
        return
    if "table" in architecture.takes and not any(len(shape) == 4 for shape in shapes.values()):
        yield (inputs,)
        return
    for height, width in dict.fromkeys([*sizes, *((side, side) for side in _SIDES)]):
        yield (inputs, height, width)


def _compare(wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> Misfit:
    return Misfit(
        [name for name in wanted if name not in found and not name.endswith(_COUNTER)],
        [name for name in found if name not in wanted and not name.endswith(_PLACES)],
        [(name, shape, found[name]) for name, shape in wanted.items() if name in found and found[name] != shape],
    )


def _load(module: nn.Module, weights: Weights) -> None:
    """Every number in the type of the architecture: float32, or a whole number where a buffer is one."""
    state = {
        name: weights[name].to(tensor.dtype) if name in weights else torch.zeros_like(tensor)
        for name, tensor in module.state_dict().items()
    }
    module.load_state_dict(state, strict=True)
    module.eval()


def _try(network: Network, in_shape: Shape, num_outputs: int) -> list[Tap]:
    """One pass on noise: the taps it passes, in order, but for the scores themselves.

    Raises Rejected where the scores are not finite.
    """
    module, turned = network.module, turned_stages(network)
    taps: dict[str, Tap] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim >= 2 and len(output) == 2:
            taps.pop(name, None)
            shape = list(output.shape[1:])
            # As the engine hands it out: channels first.
            taps[name] = Tap(name=name, shape=shape[-1:] + shape[:-1] if name in turned and len(shape) == 3 else shape)

    hooks = [
        part.register_forward_hook(lambda _part, _args, output, name=name: note(name, output))
        for name, part in module.named_modules()
        if name and name != network.head
    ]
    try:
        with evaluating(module):
            scores = module(noise(2, in_shape))
    finally:
        for hook in hooks:
            hook.remove()
    assert scores.shape == (2, num_outputs), "networks.build_network has seen the shape of the output"
    if not bool(torch.isfinite(scores).all()):
        raise Rejected(
            "The network gives NaN or infinite scores for plain noise: the checkpoint is from a run that diverged, or "
            "it is damaged. Upload one from before.",
            code="not_finite",
        )
    return list(taps.values())


def _takes_any_size(module: nn.Module, in_shape: Shape) -> bool:
    if len(in_shape) != 3:
        return kind_of(in_shape) == "text"  # what is too long, the architecture says
    channels, height, width = in_shape
    try:
        count_flops(module, (channels, height + 32, width + 32))
    except Exception:  # A library's network answers what it cannot take with any kind of exception.
        return False
    return True

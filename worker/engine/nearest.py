"""Which entry of the menu a checkpoint looks like: what a rejected teacher's report says beside what did not fit.

Only names and shapes are compared, and networks are built without memory.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

from core.errors import Rejected
from models.spec.students import Architecture, Student, config
from worker.engine.networks import family, infer_io

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

#: Below this share of equal shapes a likeness says nothing.
WORTH_SAYING = 0.3
#: An image size that every family takes; few shapes depend on it.
SIZE = (224, 224)
#: The same of tokens.
LENGTH = 4
#: Outputs and inputs where a checkpoint has neither convolution nor matrix.
ANYTHING = (10, 3)
#: Alike in shapes but not in names counts a little less than alike in both.
OTHER_NAMES = 0.9


@dataclass(frozen=True)
class Fit:
    """How well a checkpoint fits one architecture: shares of all tensors of the two together, 1 being all."""

    architecture: Student
    label: str
    #: Tensors that agree in name and shape.
    by_name: float
    #: Tensors that agree in shape, whatever they are called.
    by_shape: float

    @property
    def score(self) -> float:
        """What fits are ranked by."""
        return max(self.by_name, OTHER_NAMES * self.by_shape)

    def __str__(self) -> str:
        if self.by_name < OTHER_NAMES * self.by_shape:
            return f"{self.label} ({self.by_shape:.0%} of the tensors have its shapes, under other names: see `rename`)"
        return f"{self.label} ({self.by_name:.0%} of the tensors fit)"


def nearest(shapes: Shapes, limit: int = 3) -> list[Fit]:
    """The entries of the menu that a state_dict looks most like, best first; none where nothing is alike.

    `shapes` is in the order of the state_dict. Families are compared in the menu's order, until one fits well.
    """
    wanted = _without_counters(shapes)
    if not wanted:
        return []
    fits: list[Fit] = []
    for entry in get_args(get_args(Architecture)[0]):
        fits += [_fit(entry, chosen, wanted) for chosen in _candidates(entry, wanted)]
        if any(fit.score >= OTHER_NAMES for fit in fits):
            break
    return sorted((fit for fit in fits if fit.score >= WORTH_SAYING), key=lambda fit: -fit.score)[:limit]


def _without_counters(shapes: Shapes) -> dict[str, Shape]:
    """Old checkpoints lack the batches that each batch norm has seen, which say nothing of the architecture."""
    return {key: tuple(shape) for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}


def _candidates(entry: type[Student], shapes: Shapes) -> list[dict[str, Any]]:
    """The known members of a family, and the one that the family itself reads off the shapes, if it can."""
    guess = getattr(family(entry.model_fields["type"].default), "guess", None)
    guessed = guess(shapes) if guess else None
    return [*([guessed] if guessed else []), *(known for known in entry.known if known != guessed)]


def _fit(entry: type[Student], chosen: dict[str, Any], wanted: dict[str, Shape]) -> Fit:
    architecture = entry.model_validate(chosen)
    inputs, outputs = _inputs_and_outputs(architecture, wanted)
    has = _shapes_of(architecture, inputs, outputs)
    names = wanted.items() & has.items()
    mine, theirs = Counter(wanted.values()), Counter(has.values())
    label = " ".join([architecture.type, *(f"{key} {_brief(value)}" for key, value in chosen.items())])
    return Fit(
        architecture=architecture,
        label=label,
        by_name=len(names) / len(wanted.keys() | has.keys()),
        by_shape=(mine & theirs).total() / (mine | theirs).total(),
    )


def _inputs_and_outputs(architecture: Student, shapes: dict[str, Shape]) -> tuple[int, int]:
    """As the family reads them; under other names, those of the first convolution and of the last matrix."""
    try:
        return infer_io(architecture, shapes)
    except Rejected:
        filters = [shape for shape in shapes.values() if len(shape) == 4]
        matrices = [shape for shape in shapes.values() if len(shape) == 2]
        first = (*filters, *matrices, ANYTHING)[0]
        last = (ANYTHING, *matrices)[-1]
        return first[1], last[0]


def _shapes_of(architecture: Student, inputs: int, outputs: int) -> dict[str, Shape]:
    beside = {"image": SIZE, "text": (LENGTH,), "table": ()}
    in_shape = (inputs, *beside[next(iter(architecture.takes)) if len(architecture.takes) == 1 else "table"])
    with torch.device("meta"):
        net = family(architecture.type).build(in_shape, outputs, **config(architecture))
    return _without_counters({key: tensor.shape for key, tensor in net.state_dict().items()})


def _brief(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

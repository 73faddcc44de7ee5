"""Batches for every loss on the menu, as arrays for the derivations and as tensors for the losses."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import numpy as np
import torch

from models.spec.losses.menu import Loss
from models.spec.losses.term import LossTerm, TapPair
from tests.reference.case import Array, Case, Side
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term

MENU: list[type[LossTerm]] = list(get_args(get_args(Loss)[0]))

#: What a loss that reads features is given, where its derivation does not say `TAPS` of its own.
_TAPS = ("map", "vector", "mixed")
#: Shapes of the student's and the teacher's feature: two maps of unlike size and width, two vectors, a map that meets a
#: vector; maps of one size (narrow ones of few channels), maps of one shape; sequences of one length, sequences of one
#: shape, and the queries, keys and values of two attentions.
_SHAPES = {
    "map": ((3, 4, 4), (5, 2, 2)),
    "vector": ((4,), (6,)),
    "mixed": ((3, 4, 2), (5,)),
    "wide": ((2, 3, 3), (4, 3, 3)),
    "even": ((3, 4, 4), (3, 4, 4)),
    "later": ((4, 2, 2), (4, 2, 2)),
    "tokens": ((3, 4), (3, 5)),
    "sequence": ((2, 3), (2, 3)),
    "oblong": ((2, 5, 3), (3, 5, 3)),
    "narrow": ((3, 2, 2), (2, 2, 2)),
    "qkv": ((3, 24), (3, 48)),
}

#: Ids of samples are below this.
NUM_IDS = 13


@dataclass(frozen=True)
class Choice:
    """An entry of the menu and the fields in which it departs from its defaults."""

    entry: type[LossTerm]
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The `type`, and what differs: kd, kd-standardize=True."""
        return "-".join([name_of(self.entry), *(f"{name}={value}" for name, value in self.fields.items())])


def name_of(entry: type[LossTerm]) -> str:
    """The `type` of a menu entry."""
    return str(entry.model_fields["type"].default)


def reference(entry: type[LossTerm]) -> Any:
    """The derivation by hand of a loss: tests/reference/<type>.py."""
    return importlib.import_module(f"tests.reference.{name_of(entry)}")


def choices(entry: type[LossTerm]) -> Iterator[Choice]:
    """The entry as it comes, each value of its switches, and what its derivation adds as VARIANTS."""
    yield Choice(entry)
    for name, info in entry.model_fields.items():
        values = [False, True] if info.annotation is bool else []
        if get_origin(info.annotation) is Literal and name != "type":
            values = list(get_args(info.annotation))
        yield from (Choice(entry, {name: value}) for value in values if value != info.default)
    yield from (Choice(entry, fields) for fields in getattr(reference(entry), "VARIANTS", []))


CHOICES: list[Choice] = [choice for entry in MENU for choice in choices(entry)]


def spec_of(choice: Choice, **fields: Any) -> Any:
    """The entry with its defaults but for those fields, and with taps where it reads them."""
    names = getattr(reference(choice.entry), "TAPS", _TAPS) if choice.entry.needs_taps else ()
    taps = {"taps": [TapPair(student=name, teacher=name) for name in names]} if names else {}
    return choice.entry(**taps, **choice.fields, **fields)


def make_case(spec: Any, *, B: int = 6, C: int = 5, seed: int = 0, weighted: bool = False) -> Case:
    """A batch drawn from a seed. The two networks differ in width everywhere, and in classes where they may.

    A loss for regressions alone gets one value a sample, whatever C says.
    """
    rng = np.random.default_rng(seed)
    regression = spec.tasks == {"tabular_regression"}
    num_s = 1 if regression else C
    num_t = num_s if spec.same_outputs or regression else C + 2
    names = [pair.student for pair in spec.taps] if spec.needs_taps else list(_TAPS)

    def side(at: int, num_outputs: int, D: int) -> Side:
        features = {name: rng.normal(size=(B, *_SHAPES[name][at])) for name in names}
        return Side(3 * rng.normal(size=(B, num_outputs)), rng.normal(size=(B, D)), features)

    student, teacher = side(0, num_s, 4), side(1, num_t, 7)

    weight = rng.uniform(0.1, 2.0, size=B) if weighted else np.ones(B)
    if weighted and B > 2:
        weight[1] = 0.0
    y = teacher.logits[:, 0] + 3 * rng.normal(size=B) if regression else rng.integers(num_s, size=B)
    return Case(spec, student, teacher, weight, y, ids=7 * np.arange(B) % NUM_IDS)


def outputs(side: Side, dtype: torch.dtype = torch.float64, *, grad: bool = False) -> Outputs:
    """The same as tensors."""

    def tensor(x: Array) -> torch.Tensor:
        return torch.tensor(x, dtype=dtype, requires_grad=grad)

    return Outputs(tensor(side.logits), {k: tensor(v) for k, v in side.features.items()}, tensor(side.embedding))


def batch_of(case: Case, dtype: torch.dtype = torch.float64) -> Batch:
    """The batch beside the outputs; without weights where all are 1."""
    weight = None if (case.weight == 1).all() else torch.tensor(case.weight, dtype=dtype)
    return Batch(torch.tensor(case.y), torch.tensor(case.ids), weight, case.progress)


def make_loss(case: Case, dtype: torch.dtype = torch.float64) -> Term:
    """The loss of the case's spec, its parameters and buffers drawn from a seed and written into the case.

    One that remembers batches has seen one, and is held still from there on.
    """
    torch.manual_seed(3)
    module = importlib.import_module(f"worker.losses.{case.spec.type}")
    loss = getattr(module, type(case.spec).__name__)(case.spec, outputs(case.student), outputs(case.teacher))
    assert isinstance(loss, Term)
    loss.prepare(torch.arange(NUM_IDS))
    loss.to(dtype)
    if any(True for _ in loss.buffers()):
        before = make_case(case.spec, seed=11)
        before.student = before.teacher if case.student is case.teacher else before.student
        with torch.no_grad():
            loss(outputs(before.student, dtype), outputs(before.teacher, dtype), batch_of(before, dtype))
    loss.eval()
    case.parameters = {name: p.detach().double().numpy() for name, p in loss.state_dict().items()}
    return loss


def leaves(loss: Term, student: Outputs) -> dict[str, torch.Tensor]:
    """Everything that a gradient may reach, by the names that `Answer.gradient` uses."""
    assert student.embedding is not None
    found = {"logits": student.logits, "embedding": student.embedding}
    found |= {f"features.{name}": x for name, x in student.features.items()}
    return found | {f"parameters.{name}": p for name, p in loss.named_parameters()}

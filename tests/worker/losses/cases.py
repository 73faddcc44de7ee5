"""Batches for every loss on the menu, as arrays for the derivations and as tensors for the losses."""

import importlib
from typing import Any, get_args

import numpy as np
import torch

from models.spec.losses.menu import Loss
from models.spec.losses.term import LossTerm, TapPair
from tests.reference.case import Array, Case, Side
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term

MENU: list[type[LossTerm]] = list(get_args(get_args(Loss)[0]))

#: Two maps of unlike size and width, two vectors, and a map that meets a vector; a second pair of everything.
TAPS = [TapPair(student=f"{kind}", teacher=f"{kind}") for kind in ("map", "vector", "mixed")]
_SHAPES = {"map": ((3, 4, 4), (5, 2, 2)), "vector": ((4,), (6,)), "mixed": ((3, 4, 2), (5,))}


def spec_of(entry: type[LossTerm], **fields: Any) -> Any:
    """The entry with its defaults, and with taps where it reads them."""
    return entry(**({"taps": TAPS} if entry.needs_taps else {}), **fields)


def reference(entry: type[LossTerm]) -> Any:
    """The derivation by hand of a loss: tests/reference/<type>.py."""
    return importlib.import_module(f"tests.reference.{entry.model_fields['type'].default}")


def make_case(spec: Any, *, B: int = 6, C: int = 5, seed: int = 0, weighted: bool = False) -> Case:
    """A batch drawn from a seed. The two networks differ in width everywhere but in their classes."""
    rng = np.random.default_rng(seed)

    def side(at: int, D: int) -> Side:
        features = {name: rng.normal(size=(B, *shapes[at])) for name, shapes in _SHAPES.items()}
        return Side(3 * rng.normal(size=(B, C)), rng.normal(size=(B, D)), features)

    weight = rng.uniform(0.1, 2.0, size=B) if weighted else np.ones(B)
    if weighted and B > 2:
        weight[1] = 0.0
    return Case(spec, side(0, 4), side(1, 7), weight)


def outputs(side: Side, dtype: torch.dtype = torch.float64, *, grad: bool = False) -> Outputs:
    """The same as tensors."""

    def tensor(x: Array) -> torch.Tensor:
        return torch.tensor(x, dtype=dtype, requires_grad=grad)

    return Outputs(tensor(side.logits), {k: tensor(v) for k, v in side.features.items()}, tensor(side.embedding))


def batch_of(case: Case, dtype: torch.dtype = torch.float64) -> Batch:
    """The batch beside the outputs; without weights where all are 1."""
    B = len(case.weight)
    weight = None if (case.weight == 1).all() else torch.tensor(case.weight, dtype=dtype)
    return Batch(torch.zeros(B, dtype=torch.int64), torch.arange(B), weight)


def make_loss(case: Case, dtype: torch.dtype = torch.float64) -> Term:
    """The loss of the case's spec, its parameters drawn from a seed and written into the case."""
    torch.manual_seed(3)
    module = importlib.import_module(f"worker.losses.{case.spec.type}")
    loss = getattr(module, type(case.spec).__name__)(case.spec, outputs(case.student), outputs(case.teacher)).to(dtype)
    assert isinstance(loss, Term)
    case.parameters = {name: p.detach().double().numpy() for name, p in loss.named_parameters()}
    return loss


def leaves(loss: Term, student: Outputs) -> dict[str, torch.Tensor]:
    """Everything that a gradient may reach, by the names that `Answer.gradient` uses."""
    assert student.embedding is not None
    found = {"logits": student.logits, "embedding": student.embedding}
    found |= {f"features.{name}": x for name, x in student.features.items()}
    return found | {f"parameters.{name}": p for name, p in loss.named_parameters()}

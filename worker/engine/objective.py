"""The loss of a job: the label loss and a list of weighted terms, built for the networks at hand.

What a term needs is read off its menu entry; no term is known by name here. Wiring faults become errors that point to
the field: `/loss/1/taps/0/student`.
"""

import difflib
import importlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import Problem, UserConfig
from models.spec.losses.term import LossTerm, TapPair
from worker.engine.columns import PLAIN, Lens
from worker.engine.goal import Goal, Left
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.task import Task
from worker.engine.term import OnLogits, Term

_NAMED = 40


@dataclass(frozen=True)
class Needs:
    """What the terms of a job read from one network."""

    taps: list[str]
    embedding: bool


class Objective(Goal):
    """Label loss and terms, each by its weight. Its parameters are those of the terms.

    While nobody teaches, the terms are silent and worth 0, and the label loss is whole.
    """

    def __init__(
        self,
        task: Task,
        hard_weight: float,
        terms: list[tuple[float, Term]],
        names: list[str],
        lenses: Sequence[Lens] = (),
    ) -> None:
        super().__init__()
        self._task, self._hard_weight = task, hard_weight
        self._lenses = list(lenses) or [PLAIN] * len(terms)
        self._weights = [weight for weight, _ in terms]
        self._terms = nn.ModuleList(term for _, term in terms)
        by_formula = all(isinstance(term, OnLogits) and term.knows_gradient for _, term in terms)
        self._terms_have = by_formula and all(lens is PLAIN for lens in self._lenses)
        #: What `forward` reports, in its order.
        self.names = ["loss", "hard", *names, task.running_name]

    def prepare(self, ids_M: Tensor) -> None:
        """Tell the terms the ids of all training samples, in ascending order, before anything is loaded or trained."""
        for at, term in enumerate(self._terms):
            assert isinstance(term, Term)
            with _pointing_to(at):
                term.prepare(ids_M)

    def learn(self, student: Outputs, teacher: Outputs | None, batch: Batch, share: float) -> Left:
        """By the formula of the gradient where all parts have one: a graph of scalars costs more than they do."""
        if teacher is None:
            self._hold_still()
        if not self._has_formula(teacher, batch):
            return super().learn(student, teacher, batch, share)
        student.logits = student.logits.float()
        logits_NC, taught_NC = student.logits.detach(), None if teacher is None else full(teacher.logits)
        hard = self._hard_weight if teacher is not None else 1.0
        grad_NC = self._task.hard_gradient(logits_NC, batch.y).mul_(hard * share / len(batch.y))
        for weight, term in self._formulas(taught_NC):
            if weight and taught_NC is not None:
                grad_NC.add_(term.gradient(logits_NC, taught_NC), alpha=weight * share / len(batch.y))
        if student.add_gradient is not None:
            student.add_gradient(grad_NC)
        else:
            torch.autograd.backward(student.logits, grad_NC)
        return logits_NC, taught_NC, batch.y

    def figures_of_each(self, student_RC: Tensor, teacher_RC: Tensor | None, y_R: Tensor) -> Tensor:
        """The loss, the label loss, the terms and the running figure of each of R samples (R, K)."""
        hard_R = self._task.hard_of_each(student_RC, y_R)
        none_R = torch.zeros_like(hard_R)
        if teacher_RC is None:
            each, total_R = [hard_R, *[none_R] * len(self._terms)], hard_R
        else:
            each, total_R = [hard_R], self._hard_weight * hard_R if self._hard_weight else none_R
        for weight, term in self._formulas(teacher_RC):
            assert teacher_RC is not None, "terms speak where someone teaches"
            each.append(term.of_each(student_RC, teacher_RC))
            total_R = total_R + weight * each[-1] if weight else total_R
        return torch.stack([total_R, *each, self._task.running_of_each(student_RC, y_R)], 1)

    def _formulas(self, teacher_RC: Tensor | None) -> list[tuple[float, OnLogits]]:
        """The terms that speak, each with its weight."""
        if teacher_RC is None:
            return []
        return [(w, term) for w, term in zip(self._weights, self._terms, strict=True) if isinstance(term, OnLogits)]

    def _has_formula(self, teacher: Outputs | None, batch: Batch) -> bool:
        """Whether all that is said now has one: where all samples count alike, with one label, and terms see all."""
        if not self._task.knows_gradient or batch.weight is not None or batch.share is not None:
            return False
        return teacher is None or (self._terms_have and teacher.weight is None and teacher.rest is None)

    def _hold_still(self) -> None:
        """Gradients of 0 and not none: a fused optimizer keeps momenta for all that it trains or for nothing."""
        for parameter in self.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the values that `names` lists, without gradients and before their weights."""
        student.logits = student.logits.float()
        hard = self._task.hard(*batch.by_label(student.logits))
        values = [hard]
        # A weight of 0 leaves a term out: 0 times an infinite value would not be 0.
        total = self._hard_weight * hard if self._hard_weight else torch.zeros_like(hard)
        if teacher is None:
            total = hard
            values += [torch.zeros_like(hard)] * len(self._terms)
        elif self._terms:
            seen = {lens: lens(student, teacher, batch) for lens in dict.fromkeys(self._lenses)}
            for weight, term, lens in zip(self._weights, self._terms, self._lenses, strict=True):
                values.append(term(*seen[lens]))
                total = total + weight * values[-1] if weight else total
        running = self._task.running(student.logits.detach(), batch.y)
        return total, torch.stack([total, *values, running]).detach()


def make_objective(
    task: Task,
    hard_weight: float,
    specs: list[LossTerm],
    student: Outputs,
    teacher: Outputs,
    batch_size: int,
    lenses: Sequence[Lens] = (),
) -> Objective:
    """The objective, its terms shaped by the outputs of a dry batch; `specs` have their taps paired.

    `lenses` say what each term sees of a batch; left out: all of it.
    """
    lenses = list(lenses) or [PLAIN] * len(specs)
    num, device = len(student.logits), student.logits.device
    dry = Batch(torch.zeros(num, dtype=torch.int64, device=device), torch.arange(num, device=device))
    terms = []
    for at, (spec, lens) in enumerate(zip(specs, lenses, strict=True)):
        s, t, _ = lens(student, teacher, dry)
        terms.append((spec.weight, _make_term(spec, at, s, t, batch_size)))
    return Objective(task, hard_weight, terms, term_names(specs), lenses)


def hard_alone(task: Task) -> Objective:
    """The objective of a student without a teacher."""
    return Objective(task, 1.0, [], [])


def term_names(specs: list[LossTerm]) -> list[str]:
    """Their types, numbered from the second of a kind on: kd, hint, hint_2."""
    names: list[str] = []
    for spec in specs:
        kind = type_of(spec)
        count = sum(name == kind or name.startswith(f"{kind}_") for name in names)
        names.append(f"{kind}_{count + 1}" if count else kind)
    return names


def needs(specs: list[LossTerm], side: str) -> Needs:
    """What the terms read from the student or the teacher (`side`); taps are paired by then."""
    taps = [getattr(pair, side) for spec in specs if spec.needs_taps for pair in taps_of(spec)]
    return Needs(list(dict.fromkeys(taps)), any(spec.needs_embedding for spec in specs))


def taps_of(spec: LossTerm) -> list[TapPair]:
    """The paired taps of a term that reads features."""
    taps: list[TapPair] | str = getattr(spec, "taps", [])
    assert not isinstance(taps, str), "`auto` is paired before"
    return taps


def refuse_unknown_taps(spec: LossTerm, at: int, side: str, known: Collection[str], stages: list[str]) -> None:
    """UserConfig for the first tap that the network does not have; lists the stages, which one mostly wants."""
    if getattr(spec, "taps", "auto") == "auto":
        return
    for number, pair in enumerate(taps_of(spec)):
        name = getattr(pair, side)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean `{near[0]}`?)" if near else ""
            raise UserConfig.at(
                f"/loss/{at}/taps/{number}/{side}",
                f"the {side} has no point `{name}`{hint}; its stages are {', '.join(stages[:_NAMED])}",
                code="unknown_tap",
            )


def _make_term(spec: LossTerm, at: int, student: Outputs, teacher: Outputs, batch_size: int) -> Term:
    kind: type[Term] = getattr(importlib.import_module(f"worker.losses.{type_of(spec)}"), type(spec).__name__)
    with _pointing_to(at):
        term = _construct(kind, spec, student, teacher)
    if batch_size < term.min_batch:
        raise UserConfig.at(
            "/train/batch_size",
            f"{type_of(spec)} compares samples of a batch and needs at least {term.min_batch}, got {batch_size}",
            code="batch_too_small",
        )
    return term


@contextmanager
def _pointing_to(at: int) -> Iterator[None]:
    """A term points to its own fields; the job has a list of terms."""
    try:
        yield
    except UserConfig as error:
        problems = [Problem(f"/loss/{at}{problem.pointer}", problem.message) for problem in error.errors]
        raise UserConfig(error.detail, code=error.code, errors=problems) from error


def _construct(kind: Any, spec: LossTerm, student: Outputs, teacher: Outputs) -> Term:
    term: Term = kind(spec, student, teacher)
    return term


def type_of(spec: LossTerm) -> str:
    """Its name on the menu."""
    return str(spec.model_dump(include={"type"})["type"])

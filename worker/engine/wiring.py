"""From an order and its files to parts that fit each other: data, task, teacher, student, losses.

Everything that can be found wrong before the first step is found here, on a dry batch of a few rows.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import UserConfig
from models import pairing
from models.spec.losses.term import LossTerm
from models.work import WorkOrder
from worker.engine import data, objective
from worker.engine.networks import Network, build_network, evaluating
from worker.engine.normalise import View
from worker.engine.outputs import Outputs
from worker.engine.precision import Name, Precision, choose
from worker.engine.seeds import derive
from worker.engine.sources.dry import first_answer
from worker.engine.sources.listen import heard_by, lenses, refuse
from worker.engine.sources.open import open_source
from worker.engine.sources.source import Place, Says, Source
from worker.engine.taps import Tapped, modules_by_path, tap
from worker.engine.task import Task, make_task

_DRY_ROWS = 4


@dataclass
class Parts:
    """What a job is made of, before it is trained."""

    order: WorkOrder
    device: torch.device
    splits: dict[str, data.Split]
    task: Task
    view: View
    source: Source
    teacher: Says
    #: The job's terms, their taps paired.
    terms: list[LossTerm]
    precision: Precision
    #: The student at its random start; copied, never trained.
    start: Network
    dry_raw: Tensor
    dry_teacher: Outputs

    def student(self) -> Network:
        """A student at its start, ready to train."""
        network = copy.deepcopy(self.start)
        self.precision.lay_out(network.module)
        return network

    def student_with(self, weights: Mapping[str, Tensor]) -> Network:
        """A student with these weights, laid out as anyone would build it.

        Convolutions in another memory order give results that differ in the last bits.
        """
        network = copy.deepcopy(self.start)
        network.module.load_state_dict(weights)
        return network

    def tapped_student(self) -> Tapped:
        """A fresh student that gives what the terms read."""
        return tap(self.student(), objective.needs(self.terms, "student"), self.view(self.dry_raw))

    def objective(self, student: Tapped) -> objective.Objective:
        """The job's loss for this student, projectors included."""
        torch.manual_seed(derive(self.order.spec.train.seed, "projectors"))
        spec = self.order.spec.resolved()
        assert spec.hard is not None, "a resolved spec has every weight"
        with evaluating(student.module):
            dry = student(self.view(self.dry_raw))
        batch_size = min(spec.train.batch_size, len(self.splits["train"]))
        seen = lenses(self.terms, self.source)
        made = objective.make_objective(self.task, spec.hard, self.terms, dry, self.dry_teacher, batch_size, seen)
        made.prepare(self.splits["train"].ids)
        return made.to(self.device)


def wire(order: WorkOrder, workdir: Path, device: torch.device, precision: Name | None = None) -> Parts:
    """The parts of an order. `precision` is that of the attempt before, where there was one.

    Raises UserConfig and UserInput that point into the spec.
    """
    spec = order.spec
    splits = data.load(workdir / "data.safetensors", order.dataset, device)
    task = make_task(order.dataset, spec.train)
    view = task.student_view(device)
    rows = splits["train"].take(next(splits["train"].in_order(_DRY_ROWS)))
    student = _start(order, device)
    wish, shape = precision or spec.train.precision, order.dataset.input_shape
    chosen = choose(wish, student.module, shape, spec.train.batch_size, device)
    source = _source(Place(order, workdir, device, task))
    terms = _paired(list(spec.loss), student, view(rows.raw), source, rows)
    for at, term in enumerate(terms):
        objective.refuse_unknown_taps(term, at, "student", modules_by_path(student.module).keys(), student.stages)
    refuse(terms, source, order.dataset)
    _refuse_batches_of_one(order, student.module, view(rows.raw))
    teacher = source.teacher(terms, rows)
    dry_teacher = first_answer(teacher, rows, source.name)
    return Parts(order, device, splits, task, view, source, teacher, terms, chosen, student, rows.raw, dry_teacher)


def _source(place: Place) -> Source:
    """The job's teacher as its spec says."""
    spec = place.order.spec.teacher
    assert spec.type in {"stored", "outputs", "ensemble"}, "other teachers are not wired yet"
    return open_source(spec, "/teacher", place)


def _start(order: WorkOrder, device: torch.device) -> Network:
    """The student on the device at its random start, which is a function of the seed alone."""
    torch.manual_seed(derive(order.spec.train.seed, "init"))
    network = build_network(order.spec.student, order.dataset.input_shape, order.dataset.num_outputs)
    network.module.to(device)
    return network


def _paired(terms: list[LossTerm], student: Network, x: Tensor, source: Source, rows: data.Rows) -> list[LossTerm]:
    """The terms with every `auto` replaced by pairs of stages."""
    if not any(_auto(term) for term in terms):
        return terms
    ours = Tapped(student, student.stages)
    with evaluating(student.module):
        features = ours(x).features
    ours.close()
    shapes = {name: features[name].shape[1:] for name in student.stages}
    return [_pair(term, at, shapes, source, rows) if _auto(term) else term for at, term in enumerate(terms)]


def _pair(term: LossTerm, at: int, ours: Mapping[str, pairing.Shape], source: Source, rows: data.Rows) -> LossTerm:
    theirs = heard_by(term, at, source).stage_shapes(rows)
    pairs = pairing.pair(ours, theirs)
    if not pairs:
        raise UserConfig.at(
            f"/loss/{at}/taps",
            f"no stage of the student ({', '.join(ours) or 'it has none'}) matches one of the teacher "
            f"({', '.join(theirs) or 'it has none'}): name the taps, or take a loss that needs none",
            code="no_pair",
        )
    return term.model_copy(update={"taps": pairs})


def _auto(term: LossTerm) -> bool:
    return bool(getattr(term, "taps", None) == "auto")


def _refuse_batches_of_one(order: WorkOrder, student: nn.Module, x: Tensor) -> None:
    """Batch normalisation has no variance to speak of in a batch of one row."""
    if min(order.spec.train.batch_size, order.dataset.counts["train"]) > 1:
        return
    before = {name: value.clone() for name, value in student.state_dict().items()}
    try:
        with torch.no_grad():
            student(x[:1])
    except ValueError as error:
        raise UserConfig.at(
            "/train/batch_size", f"this student cannot train on batches of one: {error}", code="batch_too_small"
        ) from error
    finally:
        student.load_state_dict(before)

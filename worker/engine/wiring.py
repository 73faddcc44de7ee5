"""From an order and its files to parts that fit each other: data, task, teacher, student, losses.

Everything that can be found wrong before the first step is found here, on a dry batch of a few rows.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import UserConfig, UserInput
from models import pairing
from models.canonical import TeacherMeta
from models.spec.losses.term import LossTerm
from models.work import WorkOrder
from worker.engine import data, objective
from worker.engine.failures import is_out_of_memory
from worker.engine.networks import Network, build_network, evaluating
from worker.engine.normalise import View, teacher_shape
from worker.engine.outputs import Outputs
from worker.engine.precision import Name, Precision, choose
from worker.engine.seeds import derive
from worker.engine.taps import Tapped, modules_by_path
from worker.engine.task import Task, make_task
from worker.engine.teacher import Call, Teacher, TorchTeacher, load_network

_DRY_ROWS = 4


@dataclass
class Parts:
    """What a job is made of, before it is trained."""

    order: WorkOrder
    device: torch.device
    splits: dict[str, data.Split]
    task: Task
    view: View
    teacher: Teacher
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
        made = objective.make_objective(self.task, spec.hard, self.terms, dry, self.dry_teacher, batch_size)
        return made.to(self.device)


def wire(order: WorkOrder, workdir: Path, device: torch.device, precision: Name | None = None) -> Parts:
    """The parts of an order. `precision` is that of the attempt before, where there was one.

    Raises UserConfig and UserInput that point into the spec.
    """
    spec = order.spec
    splits = data.load(workdir / "data.safetensors", order.dataset, device)
    task = make_task(order.dataset, spec.train)
    view = task.student_view(device)
    raw = splits["train"].take(next(splits["train"].in_order(_DRY_ROWS))).raw
    student = _start(order, device)
    wish, shape = precision or spec.train.precision, order.dataset.input_shape
    chosen = choose(wish, student.module, shape, spec.train.batch_size, device)
    source = _Source(order, workdir, device, task)
    terms = _paired(list(spec.loss), student, view(raw), source, raw)
    objective.refuse_unknown_taps(terms, "student", modules_by_path(student.module).keys(), student.stages)
    objective.refuse_unknown_taps(terms, "teacher", source.taps, source.stages)
    _refuse_bare_embedding(terms, order.teacher)
    _refuse_batches_of_one(order, student.module, view(raw))
    teacher = source.teacher(objective.needs(terms, "teacher"), raw)
    dry_teacher = _try(teacher, raw)
    return Parts(order, device, splits, task, view, teacher, terms, chosen, student, raw, dry_teacher)


def _start(order: WorkOrder, device: torch.device) -> Network:
    """The student on the device at its random start, which is a function of the seed alone."""
    torch.manual_seed(derive(order.spec.train.seed, "init"))
    network = build_network(order.spec.student, order.dataset.input_shape, order.dataset.num_outputs)
    network.module.to(device)
    return network


def tap(network: Network, wanted: objective.Needs, x: Tensor) -> Tapped:
    """The network with hooks for what is wanted."""
    tapped = Tapped(network, wanted.taps, embedding=wanted.embedding)
    if wanted.taps:
        with evaluating(network.module):
            tapped.copy_what_changes(x)
    return tapped


class _Source:
    """The teacher's file, opened as often as it takes to know what to read from it."""

    def __init__(self, order: WorkOrder, workdir: Path, device: torch.device, task: Task) -> None:
        self._order, self._meta, self._device = order, order.teacher, device
        self._view = task.teacher_view(order.teacher, device)
        self._graph = workdir / "teacher.onnx" if order.teacher.architecture.type == "onnx" else None
        self._network = None
        if self._graph is None:
            self._network = load_network(workdir / "teacher.safetensors", order.teacher, order.dataset, device)
        self.stages = self._network.stages if self._network else [tap.name for tap in order.teacher.taps]
        self.taps = set(modules_by_path(self._network.module)) if self._network else set(self.stages)

    def stage_shapes(self, raw: Tensor) -> dict[str, pairing.Shape]:
        """The shapes of its stages for this data, without the batch."""
        teacher = self.teacher(objective.Needs(self.stages, embedding=False), raw)
        features = _try(teacher, raw).features
        shapes: dict[str, pairing.Shape] = {name: features[name].shape[1:] for name in self.stages}
        return shapes if self._network else pairing.last_of_each_shape(shapes)

    def teacher(self, wanted: objective.Needs, raw: Tensor) -> Teacher:
        """The teacher, giving what is wanted."""
        return Teacher(self._call(wanted, raw), self._view, self._precision(), embedding=wanted.embedding)

    def _call(self, wanted: objective.Needs, raw: Tensor) -> Call:
        if self._network is None:
            from worker.engine.onnx_teacher import OnnxTeacher

            assert self._graph is not None
            return OnnxTeacher(self._graph, self._meta, wanted.taps, self._order.threads)
        tapped = tap(self._network, wanted, self._view(raw))
        return TorchTeacher(tapped, self._meta)

    def _precision(self) -> Precision:
        if self._network is None:
            return Precision("float32", self._device.type, channels_last=False)
        spec, shape = self._order.spec.train, teacher_shape(self._meta, self._order.dataset)
        precision = choose(spec.precision, self._network.module, shape, spec.batch_size, self._device)
        precision.lay_out(self._network.module)
        return precision


def _paired(terms: list[LossTerm], student: Network, x: Tensor, source: _Source, raw: Tensor) -> list[LossTerm]:
    """The terms with every `auto` replaced by pairs of stages."""
    if not any(_auto(term) for term in terms):
        return terms
    ours = Tapped(student, student.stages)
    with evaluating(student.module):
        features = ours(x).features
    ours.close()
    theirs = source.stage_shapes(raw)
    pairs = pairing.pair({name: features[name].shape[1:] for name in student.stages}, theirs)
    for at, term in enumerate(terms):
        if _auto(term) and not pairs:
            raise UserConfig.at(
                f"/loss/{at}/taps",
                f"no stage of the student ({', '.join(student.stages) or 'it has none'}) matches one of the teacher "
                f"({', '.join(theirs) or 'it has none'}): name the taps, or take a loss that needs none",
                code="no_pair",
            )
    return [term.model_copy(update={"taps": pairs}) if _auto(term) else term for term in terms]


def _auto(term: LossTerm) -> bool:
    return bool(getattr(term, "taps", None) == "auto")


def _refuse_bare_embedding(terms: list[LossTerm], teacher: TeacherMeta) -> None:
    if teacher.architecture.type != "onnx" or teacher.graph_embedding is not None:
        return
    for at, term in enumerate(terms):
        if term.needs_embedding:
            raise UserConfig.at(
                f"/loss/{at}/type",
                "this loss compares embeddings, and the teacher's graph does not show what feeds its last linear "
                "layer: take a loss that compares outputs or taps",
                code="teacher_without_embedding",
            )


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


def _try(teacher: Teacher, raw: Tensor) -> Outputs:
    """What the teacher says of the dry batch, or why it cannot."""
    try:
        outputs = teacher(raw)
    except Exception as error:  # a graph of any make may fail in any way
        if is_out_of_memory(error):
            raise
        raise UserInput(
            f"the teacher cannot take this data, which is of shape {list(raw.shape[1:])}: {error}",
            code="teacher_does_not_fit",
        ) from error
    if not bool(outputs.logits.isfinite().all()):
        raise UserInput("the teacher's outputs are not finite on this data", code="teacher_not_finite")
    return outputs

"""A teacher that was handed in: a network of the menu with its weights, or an ONNX graph."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models import pairing
from models.canonical import TeacherMeta
from models.spec.losses.term import LossTerm
from models.spec.teaching import StoredTeacher
from worker.engine.choosing import Candidate
from worker.engine.data import Rows
from worker.engine.folded import folded
from worker.engine.fused import fused
from worker.engine.normalise import teacher_shape
from worker.engine.objective import Needs, needs
from worker.engine.precision import Precision
from worker.engine.sources.classes import columns_of
from worker.engine.sources.dry import first_answer
from worker.engine.sources.source import Place, Single
from worker.engine.taps import modules_by_path, tap
from worker.engine.teacher import Call, Teacher, TorchTeacher, load_network


class StoredSource:
    """The teacher's file, opened as often as it takes to know what to read from it."""

    def __init__(self, spec: StoredTeacher, pointer: str, place: Place) -> None:
        staged = place.order.teachers[spec.id]
        self._place, self._meta, self._id = place, staged.meta, spec.id
        self._view = place.task.teacher_view(staged.meta, place.device)
        file = place.workdir / staged.file
        self._graph = file if staged.meta.architecture.type == "onnx" else None
        self._network = None if self._graph else load_network(file, staged.meta, place.order.dataset, place.device)
        self.stages = self._network.stages if self._network else [point.name for point in staged.meta.taps]
        self.taps = set(modules_by_path(self._network.module)) if self._network else set(self.stages)
        self.has_embedding = self._network is not None or staged.meta.graph_embedding is not None
        self.record: TeacherMeta | None = staged.meta
        self.num_outputs = staged.meta.num_outputs
        self.pointer, self.name = pointer, _called(spec.id, place)
        self.columns = columns_of(
            spec.classes, staged.meta.classes, self.num_outputs, place.order.dataset, place.device, pointer
        )

    @property
    def members(self) -> Mapping[str, Single]:
        """Itself."""
        return {self._id: self}

    def stage_shapes(self, rows: Rows) -> dict[str, pairing.Shape]:
        """The shapes of its stages for this data, without the batch."""
        features = first_answer(self._teacher(Needs(self.stages, embedding=False), rows), rows, self.name).features
        shapes: dict[str, pairing.Shape] = {name: features[name].shape[1:] for name in self.stages}
        return shapes if self._network else pairing.last_of_each_shape(shapes)

    def teacher(self, terms: Sequence[LossTerm], rows: Rows) -> Teacher:
        """The teacher, giving what the terms read."""
        return self._teacher(needs(list(terms), "teacher"), rows)

    def _teacher(self, wanted: Needs, rows: Rows) -> Teacher:
        precision = self._precision()
        how, quick = self._quick(wanted, rows) if precision.name == "bf16" else (False, None)
        teacher = Teacher(self._call(wanted, rows), self._view, precision, embedding=wanted.embedding, quick=quick)
        teacher.content = {
            "sha256": self._place.order.teachers[self._id].sha256,
            "record": self._meta.model_dump(mode="json"),
            "taps": sorted(wanted.taps),
            "embedding": wanted.embedding,
            "folded": how,
        }
        return teacher

    def _call(self, wanted: Needs, rows: Rows) -> Call:
        if self._network is None:
            from worker.engine.onnx_teacher import OnnxTeacher

            assert self._graph is not None
            return OnnxTeacher(self._graph, self._meta, wanted.taps, self._place.order.threads)
        tapped = tap(self._network, wanted, self._view(rows.raw))
        return TorchTeacher(tapped, self._meta)

    def _quick(self, wanted: Needs, rows: Rows) -> tuple[bool | str, Call | None]:
        """A copy for the answers that train, and a word for how it answers.

        What is read inside of the network is read of the network itself.
        """
        if self._network is None or wanted.taps or (plain := folded(self._network)) is None:
            return False, None
        x = self._view(rows.raw)
        quick = fused(plain, x.to(torch.bfloat16))
        return "fused" if quick else True, TorchTeacher(tap(quick or plain, wanted, x), self._meta)

    def _precision(self) -> Precision:
        place, train = self._place, self._place.order.spec.train
        if self._network is None:
            return Precision("float32", place.device.type, channels_last=False)

        def batch() -> Tensor:
            return self._view(place.train.take(next(place.train.in_order(train.batch_size))).raw)

        shape = teacher_shape(self._meta, place.order.dataset)
        candidate = Candidate(self._network.module, shape, train, batch, len(place.train), trains=False)
        precision = place.choosing(self._id, candidate)
        precision.lay_out(self._network.module)
        return precision


def _called(id_: str, place: Place) -> str:
    """How messages call it: by its id where there are others."""
    return "the teacher" if len(place.order.teachers) + len(place.order.outputs) == 1 else f"the teacher {id_}"

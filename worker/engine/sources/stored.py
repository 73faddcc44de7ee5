"""A teacher that was handed in: a network of the menu with its weights, or an ONNX graph."""

from pathlib import Path

import torch

from models import pairing
from models.work import StagedTeacher, WorkOrder
from worker.engine.data import Rows
from worker.engine.normalise import teacher_shape
from worker.engine.objective import Needs
from worker.engine.precision import Precision, choose
from worker.engine.sources.dry import first_answer
from worker.engine.taps import modules_by_path, tap
from worker.engine.task import Task
from worker.engine.teacher import Call, Teacher, TorchTeacher, load_network


class StoredSource:
    """The teacher's file, opened as often as it takes to know what to read from it."""

    def __init__(
        self, staged: StagedTeacher, order: WorkOrder, workdir: Path, device: torch.device, task: Task
    ) -> None:
        self._order, self._meta, self._device = order, staged.meta, device
        self._view = task.teacher_view(staged.meta, device)
        file = workdir / staged.file
        self._graph = file if staged.meta.architecture.type == "onnx" else None
        self._network = None if self._graph else load_network(file, staged.meta, order.dataset, device)
        self.stages = self._network.stages if self._network else [point.name for point in staged.meta.taps]
        self.taps = set(modules_by_path(self._network.module)) if self._network else set(self.stages)
        self.has_embedding = self._network is not None or staged.meta.graph_embedding is not None

    def stage_shapes(self, rows: Rows) -> dict[str, pairing.Shape]:
        """The shapes of its stages for this data, without the batch."""
        features = first_answer(self.teacher(Needs(self.stages, embedding=False), rows), rows).features
        shapes: dict[str, pairing.Shape] = {name: features[name].shape[1:] for name in self.stages}
        return shapes if self._network else pairing.last_of_each_shape(shapes)

    def teacher(self, wanted: Needs, rows: Rows) -> Teacher:
        """The teacher, giving what is wanted."""
        return Teacher(self._call(wanted, rows), self._view, self._precision(), embedding=wanted.embedding)

    def _call(self, wanted: Needs, rows: Rows) -> Call:
        if self._network is None:
            from worker.engine.onnx_teacher import OnnxTeacher

            assert self._graph is not None
            return OnnxTeacher(self._graph, self._meta, wanted.taps, self._order.threads)
        tapped = tap(self._network, wanted, self._view(rows.raw))
        return TorchTeacher(tapped, self._meta)

    def _precision(self) -> Precision:
        if self._network is None:
            return Precision("float32", self._device.type, channels_last=False)
        spec, shape = self._order.spec.train, teacher_shape(self._meta, self._order.dataset)
        precision = choose(spec.precision, self._network.module, shape, spec.batch_size, self._device)
        precision.lay_out(self._network.module)
        return precision

"""A network of the job itself as a teacher: an earlier student, or the student's own average."""

from collections.abc import Mapping, Sequence

from models.canonical import TeacherMeta
from models.pairing import Shape
from models.spec.losses.term import LossTerm
from worker.engine.columns import SAME, Columns
from worker.engine.data import Rows
from worker.engine.networks import Network
from worker.engine.normalise import View
from worker.engine.objective import needs
from worker.engine.precision import Precision
from worker.engine.sources.dry import first_answer
from worker.engine.sources.source import Single
from worker.engine.taps import Tapped, modules_by_path, tap
from worker.engine.teacher import Teacher


class NetworkSource:
    """Sees what the students see, and answers for the data set's classes."""

    has_embedding = True
    record: TeacherMeta | None = None

    def __init__(self, network: Network, num_outputs: int, name: str, view: View, precision: Precision) -> None:
        self._network, self._view, self._precision = network, view, precision
        network.module.eval().requires_grad_(False)
        precision.lay_out(network.module)
        self.stages, self.taps = network.stages, set(modules_by_path(network.module))
        self.columns: Columns | None = SAME
        self.num_outputs = num_outputs
        self.pointer, self.name = "/teacher", name

    @property
    def members(self) -> Mapping[str, Single]:
        """Itself."""
        return {self.name: self}

    def stage_shapes(self, rows: Rows) -> dict[str, Shape]:
        """The shapes of its stages for this data, without the batch."""
        tapped = Tapped(self._network, self.stages)
        features = first_answer(self._at_work(tapped), rows, self.name).features
        tapped.close()
        return {name: features[name].shape[1:] for name in self.stages}

    def teacher(self, terms: Sequence[LossTerm], rows: Rows) -> Teacher:
        """The network, giving what the terms read of it."""
        return self._at_work(tap(self._network, needs(list(terms), "teacher"), self._view(rows.raw)))

    def _at_work(self, tapped: Tapped) -> Teacher:
        return Teacher(tapped, self._view, self._precision, embedding=True)

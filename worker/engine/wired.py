"""One lesson of a job, fitted together: its network at the start, who teaches it, and a loss shaped for the two.

Everything that can be found wrong before the first step is found here, on a dry batch of a few rows.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from core.errors import Problem, UserConfig
from models.lessons import Itself, Lesson
from models.seeds import derive
from models.spec.losses.term import LossTerm
from models.spec.teaching import Branches, MovingAverage, Snapshot
from models.work import WorkOrder
from worker.engine import data, objective
from worker.engine.columns import Lens
from worker.engine.ema import Average
from worker.engine.exits import BranchObjective, ExitNetwork, Exits
from worker.engine.following import AverageTeacher, Following, SnapshotTeacher
from worker.engine.goal import Goal
from worker.engine.networks import Network, evaluating
from worker.engine.normalise import View
from worker.engine.objective import Needs, Objective
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.sources.network import NetworkSource
from worker.engine.sources.source import Says
from worker.engine.taps import Tapped, tap
from worker.engine.task import Task
from worker.engine.together import MutualObjective


@dataclass(frozen=True)
class Bench:
    """What all lessons of a job are fitted on; `rows` are the dry batch."""

    order: WorkOrder
    device: torch.device
    splits: dict[str, data.Split]
    view: View
    rows: data.Rows

    @property
    def x(self) -> Tensor:
        """The dry batch as students see it."""
        return self.view(self.rows.raw)


@dataclass(frozen=True)
class Heard:
    """One of those who teach in a lesson: the terms with taps paired for it, and what it says of the dry batch."""

    terms: list[LossTerm]
    lenses: list[Lens]
    dry: Outputs


@dataclass(frozen=True)
class Wired:
    """A lesson that can be held."""

    lesson: Lesson
    bench: Bench
    task: Task
    precision: Precision
    #: The network at its random start; copied, never trained.
    start: Network
    #: By name; empty where the labels alone teach, or the network's own exits.
    heard: dict[str, Heard] = field(default_factory=dict)
    #: What the networks beside it read of this one.
    shown: list[Needs] = field(default_factory=list)

    def network(self) -> Network:
        """The network at its start, ready to train."""
        network = copy.deepcopy(self.start)
        self.precision.lay_out(network.module)
        return network

    def with_weights(self, weights: Mapping[str, Tensor]) -> Network:
        """The network with these weights, laid out as anyone would build it.

        Convolutions in another memory order give results that differ in the last bits.
        """
        network = copy.deepcopy(self.start)
        network.module.load_state_dict(weights)
        return network

    def as_source(self, network: Network) -> NetworkSource:
        """Such a network of this lesson as a teacher; it is taken over, not copied."""
        num_outputs = self.bench.order.dataset.num_outputs
        return NetworkSource(network, num_outputs, self.lesson.name, self.bench.view, self.precision)

    def tapped(self, network: Network) -> Tapped:
        """The network with hooks for all that is read of it while it is trained."""
        read = [objective.needs(heard.terms, "student") for heard in self.heard.values()]
        wanted = [*read, *self.shown, Needs(self.exit_stages, embedding=False)]
        taps = dict.fromkeys(name for each in wanted for name in each.taps)
        return tap(network, Needs(list(taps), any(each.embedding for each in wanted)), self.bench.x)

    def objective(self, net: Tapped) -> Goal:
        """The loss of the lesson for this network, with all that is trained beside it."""
        torch.manual_seed(derive(self.lesson.seed, "projectors"))
        with pointing(self.lesson):
            return self._objective(self._answer(net)).to(self.bench.device)

    def following(self, network: Network) -> Following | None:
        """The teacher that is made of the network and moves with it, where there is one; before it has hooks."""
        if not isinstance(self.lesson.guide, Itself):
            return None
        match self.lesson.guide.way:
            case MovingAverage(decay=decay):
                average = Average(network.module, decay)
                return AverageTeacher(average, self._copy_answers(network, average.module))
            case Snapshot(every=every):
                module = copy.deepcopy(network.module)
                return SnapshotTeacher(every, network.module, module, self._copy_answers(network, module))
            case Branches():
                return None

    @property
    def exit_stages(self) -> list[str]:
        """The stages that have exits, shallow to deep."""
        return self.start.stages[:-1] if self.lesson.has_exits else []

    def with_exits(self, weights: Mapping[str, Tensor], exits: Mapping[str, Tensor]) -> ExitNetwork:
        """The network and its exits with these weights."""
        network = self.with_weights(weights)
        net = Tapped(network, self.exit_stages)
        made = self._exits(self._answer(net))
        net.close()
        made.load_state_dict(exits)
        return ExitNetwork(network, made)

    def _answer(self, net: Tapped) -> Outputs:
        """What the network says of the dry batch."""
        with evaluating(net.module):
            return net(self.bench.x)

    def _objective(self, dry: Outputs) -> Goal:
        if self.exit_stages:
            exits = self._exits(dry)
            answers = [Outputs(answer.detach()) for answer in exits(dry.features)]
            return BranchObjective(self.task, exits, [self._fitted(answer, Outputs(dry.logits)) for answer in answers])
        each = {name: self._fitted(dry, heard.dry, heard) for name, heard in self.heard.items()}
        if not each:
            return objective.hard_alone(self.task)
        return MutualObjective(each) if len(each) > 1 else next(iter(each.values()))

    def _fitted(self, student: Outputs, teacher: Outputs, heard: Heard | None = None) -> Objective:
        """The lesson's loss for two that have answered the dry batch."""
        terms, seen = (heard.terms, heard.lenses) if heard else (list(self.lesson.terms), [])
        rows = self.bench.splits["train"]
        batch_size = min(self.lesson.train.batch_size, len(rows))
        made = objective.make_objective(self.task, self.lesson.hard, terms, student, teacher, batch_size, seen)
        made.prepare(rows.ids)
        return made

    def _exits(self, dry: Outputs) -> Exits:
        return Exits(self.exit_stages, dry).to(self.bench.device)

    def _copy_answers(self, network: Network, module: nn.Module) -> Says:
        """What a copy of the network says."""
        (heard,) = self.heard.values()
        return self.as_source(Network(module, network.head, network.stages)).teacher(heard.terms, self.bench.rows)


@contextmanager
def pointing(lesson: Lesson) -> Iterator[None]:
    """Errors that point to the fields of the job's student point to those of the lesson."""
    try:
        yield
    except UserConfig as error:
        error.errors = [Problem(lesson.pointer(problem.pointer), problem.message) for problem in error.errors]
        raise

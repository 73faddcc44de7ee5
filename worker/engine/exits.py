"""Exits on a network's stages, which its last layers teach: pooled features and one linear layer each.

Zhang et al. 2019, Be Your Own Teacher, arXiv:1905.08094. The exits are part of the loss and not of the network: they
are trained beside it and kept in checkpoints, and the network is handed out without them.
Shapes: N samples, C classes or values.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from worker.engine.align import vector
from worker.engine.goal import Goal
from worker.engine.networks import Network
from worker.engine.objective import Objective, hard_alone
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.taps import Tapped
from worker.engine.task import Task


class Exits(nn.Module):
    """An answer from each stage, (N, C). Maps are averaged over their places, sequences over their length."""

    def __init__(self, stages: Sequence[str], dry: Outputs) -> None:
        super().__init__()
        self.stages = list(stages)
        widths = [_pooled(dry.features[stage]).shape[1] for stage in self.stages]
        self.heads = nn.ModuleList(nn.Linear(width, dry.logits.shape[1]) for width in widths)

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """The answers, shallow to deep, in float32."""
        answers: list[Tensor] = [
            head(_pooled(full(features[stage]))) for stage, head in zip(self.stages, self.heads, strict=True)
        ]
        return answers


class ExitNetwork(nn.Module):
    """A network with its exits, for scoring: x to the answers of the exits (N, exits, C)."""

    def __init__(self, network: Network, exits: Exits) -> None:
        super().__init__()
        self.module, self.exits = network.module, exits
        self._tapped = Tapped(network, exits.stages)

    def forward(self, x: Tensor) -> Tensor:
        """The answers, shallow to deep."""
        return torch.stack(self.exits(self._tapped(x).features), 1)


class BranchObjective(Goal):
    """hard(student) + sum over exits of what the job's loss says of the exit, taught by the student detached from it.

    Nobody teaches the student's last layer, so the label loss there is whole; beside the terms it has the job's weight.
    """

    def __init__(self, task: Task, exits: Exits, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.exits, self._last = exits, hard_alone(task)
        self._objectives = nn.ModuleList(objectives)
        #: What `forward` reports: of the student, the terms averaged over exits, and the running figure of each exit.
        self.names = [*objectives[0].names, *(f"{task.running_name}@{stage}" for stage in exits.stages)]

    @property
    def evaluated(self) -> Exits:
        """The exits, which are scored as the network is."""
        return self.exits

    def forward(self, student: Outputs, _teacher: Outputs | None, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the values that `names` lists, without gradients."""
        total, last = self._last(student, None, batch)
        teacher = Outputs(student.logits.detach())
        of_exits = []
        for objective, answer in zip(self._objectives, self.exits(student.features), strict=True):
            loss, values = objective(Outputs(answer), teacher, batch)
            total = total + loss
            of_exits.append(values)
        of_exits_EK = torch.stack(of_exits)
        hard, running = last[1:2], last[2:]
        values_K = torch.cat([total.detach()[None], hard, of_exits_EK[:, 2:-1].mean(0), running, of_exits_EK[:, -1]])
        return total, values_K


def _pooled(x: Tensor) -> Tensor:
    """A map's mean over its places, a sequence's over its length: (N, channels)."""
    return x.mean(1) if x.ndim == 3 else vector(x)

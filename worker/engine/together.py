"""The loss of one of several students that learn from each other.

Zhang et al. 2018, Deep Mutual Learning, arXiv:1706.00384: hard + the mean over the others of the terms.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from worker.engine.goal import Goal
from worker.engine.objective import Objective
from worker.engine.outputs import Batch, Outputs


class MutualObjective(Goal):
    """The mean over the others of the job's loss, each with terms of its own: their features differ in shape."""

    def __init__(self, objectives: Mapping[str, Objective]) -> None:
        super().__init__()
        self._others = list(objectives)
        self._objectives = nn.ModuleList(objectives.values())
        self.names = next(iter(objectives.values())).names

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the values that `names` lists, without gradients; `teacher` has the others as its members."""
        assert teacher is not None, "there are others"
        found = [
            objective(student, teacher.members[other], batch)
            for other, objective in zip(self._others, self._objectives, strict=True)
        ]
        return torch.stack([loss for loss, _ in found]).mean(), torch.stack([values for _, values in found]).mean(0)

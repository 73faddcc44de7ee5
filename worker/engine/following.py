"""Teachers that are made of the student and move with it: its running average, or how it was some epochs ago."""

from collections.abc import Callable
from typing import Protocol

from torch import nn

from worker.engine.checkpoint import State
from worker.engine.data import Rows
from worker.engine.ema import Average
from worker.engine.outputs import Outputs

Answer = Callable[[Rows], Outputs]


class Following(Protocol):
    """A teacher that is told of each step and epoch."""

    def __call__(self, rows: Rows) -> Outputs | None:
        """What it says of samples, without gradients; None while it has nothing to say."""

    def after_step(self) -> None:
        """The student has moved."""

    def after_epoch(self, epochs: int) -> None:
        """The student has done so many whole epochs."""

    def state_dict(self) -> State:
        """All that it is made of."""

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state."""


class AverageTeacher:
    """The running average of the student's weights; see worker.engine.ema for what is averaged and how."""

    def __init__(self, average: Average, answer: Answer) -> None:
        self._average, self._answer = average, answer

    def __call__(self, rows: Rows) -> Outputs:
        """By the average as it stands; before the first step it is the student itself."""
        return self._answer(rows)

    def after_step(self) -> None:
        """Take the student in."""
        self._average.update()

    def after_epoch(self, _epochs: int) -> None:
        """It moves by steps."""

    def state_dict(self) -> State:
        """The averaged weights."""
        return self._average.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state."""
        self._average.load_state_dict(state)


class SnapshotTeacher:
    """The student as it was at the last of every `every` epochs; silent before the first of them."""

    def __init__(self, every: int, student: nn.Module, module: nn.Module, answer: Answer) -> None:
        self._every, self._student, self._module, self._answer = every, student, module, answer
        self._taken = False

    def __call__(self, rows: Rows) -> Outputs | None:
        """By the last snapshot."""
        return self._answer(rows) if self._taken else None

    def after_step(self) -> None:
        """It moves by epochs."""

    def after_epoch(self, epochs: int) -> None:
        """Take a snapshot where it is time."""
        if epochs % self._every == 0:
            self._module.load_state_dict(self._student.state_dict())
            self._taken = True

    def state_dict(self) -> State:
        """The snapshot, if one was taken."""
        return {"taken": self._taken, "module": self._module.state_dict() if self._taken else None}

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state."""
        self._taken = state["taken"]
        if self._taken:
            self._module.load_state_dict(state["module"])

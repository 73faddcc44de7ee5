"""An averaged copy of the student: evaluated and handed out where `train.ema` asks for it, or its own teacher.

average = decay * average + (1 - decay) * student after each step, for parameters and for the statistics of batch norm:
those of the student are of its activations today, and would not fit averaged weights. Counters are copied.
Over the first steps the decay is min(decay, (1 + t) / (10 + t)), the rule of TensorFlow's ExponentialMovingAverage with
num_updates: with a fixed decay, a short run would hand out mostly the random start.
"""

import copy

import torch
from torch import Tensor, nn


class Average:
    """The averaged copy, in evaluation mode."""

    def __init__(self, student: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(student).eval().requires_grad_(False)
        self._decay, self._updates = decay, 0
        mine, theirs = self.module.state_dict(), student.state_dict()
        floats = [name for name, x in mine.items() if x.is_floating_point()]
        self._averaged = [mine[name] for name in floats]
        self._sources = [theirs[name] for name in floats]
        self._counts = [(x, theirs[name]) for name, x in mine.items() if not x.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the student as it is now."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._averaged, self._sources, 1 - decay)
        for mine, theirs in self._counts:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Tensor | int]:
        """The averaged weights and how often they were updated."""
        return {**self.module.state_dict(), "": self._updates}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Go on from a saved state."""
        weights = dict(state)
        self._updates = int(weights.pop(""))
        self.module.load_state_dict(weights)

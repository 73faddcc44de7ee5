"""Running means of what a step reports, kept on the device and read only when a line is due.

It also knows the first step whose loss was not finite, without ever waiting for the device: a sum that has met one such
value stays so, and the steps before it are counted.
"""

from typing import Any

import torch
from torch import Tensor

from worker.engine.goal import Goal, Left

#: What so many steps have left is worked out at once, unless it takes more bytes: on their own these few numbers cost
#: more operations than the step of a small network has.
_AT_ONCE, _MOST_BYTES = 64, 2**22


class Meter:
    """Sums over one epoch. Shapes: K figures a step, the first of them the loss; M steps to be worked out."""

    def __init__(self, goal: Goal, device: torch.device) -> None:
        self._goal, self._device = goal, device
        self._sums_K = torch.zeros(len(goal.names), dtype=torch.float64, device=device)
        self._good = torch.zeros((), dtype=torch.int64, device=device)
        self._samples = 0
        self._batches = 0
        self._waiting: list[Left] = []
        self._sizes: list[int] = []

    def add(self, left: Left, samples: int) -> None:
        """Take in what the step of one batch has left."""
        self._waiting.append(left)
        self._sizes.append(samples)
        if len(self._waiting) >= self._at_once(left):
            self._sums_K, self._good = self._with_waiting()
            self._samples, self._batches = self._num_samples, self._num_batches
            self._waiting, self._sizes = [], []

    def read(self) -> dict[str, float]:
        """The means so far, by name; waits for the device."""
        sums: list[float] = self._with_waiting()[0].tolist()
        return {name: total / max(1, self._num_samples) for name, total in zip(self._goal.names, sums, strict=True)}

    def first_bad(self) -> int | None:
        """The number of the first batch of the epoch with a loss that was not finite; waits for the device."""
        good = int(self._with_waiting()[1])
        return None if good == self._num_batches else good

    def clear(self) -> None:
        """Start an epoch."""
        self._sums_K.zero_()
        self._good.zero_()
        self._samples = self._batches = 0
        self._waiting, self._sizes = [], []

    def state_dict(self) -> dict[str, Any]:
        """The sums, and what is not in them yet, so that a resumed epoch reports the same means, bit by bit."""
        return {
            "sums": self._sums_K,
            "good": self._good,
            "samples": self._samples,
            "batches": self._batches,
            "waiting": list(self._waiting),
            "sizes": list(self._sizes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved sums."""
        self._sums_K.copy_(state["sums"])
        self._good.copy_(state["good"])
        self._samples, self._batches = state["samples"], state["batches"]
        # Engines before the fourth took in each step by itself.
        self._waiting, self._sizes = list(state.get("waiting", [])), list(state.get("sizes", []))

    @property
    def _num_samples(self) -> int:
        return self._samples + sum(self._sizes)

    @property
    def _num_batches(self) -> int:
        return self._batches + len(self._sizes)

    def _at_once(self, left: Left) -> int:
        parts = (left,) if isinstance(left, Tensor) else left
        return min(_AT_ONCE, _MOST_BYTES // sum(x.nbytes for x in parts if x is not None))

    def _with_waiting(self) -> tuple[Tensor, Tensor]:
        """The sums (K,) and the number of good batches, all steps taken in."""
        if not self._waiting:
            return self._sums_K, self._good
        figures_MK = self._goal.figures(self._waiting)
        size_M = torch.tensor(self._sizes, dtype=torch.float64).to(self._device, non_blocking=True)
        sound_M = figures_MK[:, 0].isfinite().cumprod(0)
        # Those after a bad one do not count.
        good = self._good + torch.where(self._good == self._batches, sound_M.sum(), 0)
        return self._sums_K + (figures_MK * size_M[:, None]).sum(0), good

"""Running means of what a step reports, kept on the device and read only when a line is due.

It also knows the first step whose loss was not finite, without ever waiting for the device: a sum that has met one such
value stays so, and the steps before it are counted.
"""

from typing import Any

import torch
from torch import Tensor

#: Steps whose values are taken in at once: on their own these few numbers cost several operations each step.
_AT_ONCE = 64


class Meter:
    """Sums over one epoch. Shapes: K values a step, the first of them the loss; M steps that are not taken in yet."""

    def __init__(self, names: list[str], device: torch.device) -> None:
        self._names, self._device = names, device
        self._sums_K = torch.zeros(len(names), dtype=torch.float64, device=device)
        self._good = torch.zeros((), dtype=torch.int64, device=device)
        self._samples = 0
        self._batches = 0
        self._waiting: list[Tensor] = []
        self._sizes: list[int] = []

    def add(self, values_K: Tensor, samples: int) -> None:
        """Take in the means of one batch."""
        self._waiting.append(values_K)
        self._sizes.append(samples)
        if len(self._waiting) == _AT_ONCE:
            self._sums_K, self._good = self._with_waiting()
            self._samples, self._batches = self._num_samples, self._num_batches
            self._waiting, self._sizes = [], []

    def read(self) -> dict[str, float]:
        """The means so far, by name; waits for the device."""
        sums: list[float] = self._with_waiting()[0].tolist()
        return {name: total / max(1, self._num_samples) for name, total in zip(self._names, sums, strict=True)}

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
        self._waiting = [values_K.to(self._device) for values_K in state.get("waiting", [])]
        self._sizes = list(state.get("sizes", []))

    @property
    def _num_samples(self) -> int:
        return self._samples + sum(self._sizes)

    @property
    def _num_batches(self) -> int:
        return self._batches + len(self._sizes)

    def _with_waiting(self) -> tuple[Tensor, Tensor]:
        """The sums (K,) and the number of good batches, all steps taken in."""
        if not self._waiting:
            return self._sums_K, self._good
        values_MK = torch.stack(self._waiting).double()
        size_M = torch.tensor(self._sizes, dtype=torch.float64).to(self._device, non_blocking=True)
        sound_M = values_MK[:, 0].isfinite().cumprod(0)
        # Those after a bad one do not count.
        good = self._good + torch.where(self._good == self._batches, sound_M.sum(), 0)
        return self._sums_K + (values_MK * size_M[:, None]).sum(0), good

"""Running means of what a step reports, kept on the device and read only when a line is due.

It also knows the first step whose loss was not finite, without ever waiting for the device: a sum that has met one such
value stays so, and the steps before it are counted.
"""

import torch
from torch import Tensor


class Meter:
    """Sums over one epoch. Shapes: K values a step, the first of them the loss."""

    def __init__(self, names: list[str], device: torch.device) -> None:
        self._names = names
        self._sums_K = torch.zeros(len(names), dtype=torch.float64, device=device)
        self._good = torch.zeros((), dtype=torch.int64, device=device)
        self._samples = 0
        self._batches = 0

    def add(self, values_K: Tensor, samples: int) -> None:
        """Take in the means of one batch."""
        self._sums_K.add_(values_K, alpha=samples)
        self._good.add_(self._sums_K[0].isfinite())
        self._samples += samples
        self._batches += 1

    def read(self) -> dict[str, float]:
        """The means so far, by name; waits for the device."""
        sums: list[float] = self._sums_K.tolist()
        return {name: total / max(1, self._samples) for name, total in zip(self._names, sums, strict=True)}

    def first_bad(self) -> int | None:
        """The number of the first batch of the epoch with a loss that was not finite; waits for the device."""
        good = int(self._good)
        return None if good == self._batches else good

    def clear(self) -> None:
        """Start an epoch."""
        self._sums_K.zero_()
        self._good.zero_()
        self._samples = self._batches = 0

    def state_dict(self) -> dict[str, Tensor | int]:
        """The sums, so that an epoch that is resumed reports the same means."""
        return {"sums": self._sums_K, "good": self._good, "samples": self._samples, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Go on from saved sums."""
        self._sums_K.copy_(torch.as_tensor(state["sums"]))
        self._good.copy_(torch.as_tensor(state["good"]))
        self._samples, self._batches = int(state["samples"]), int(state["batches"])

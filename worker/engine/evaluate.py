"""What a network says of a whole split, every row of it, and the mode it was in before."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from worker.engine.data import Split
from worker.engine.networks import evaluating
from worker.engine.normalise import View
from worker.engine.precision import Precision

Check = Callable[[], None]

#: Without gradients a larger batch fits than in training; this many rows are enough to keep a device busy.
_ROWS, _LARGER = 256, 4


def batch_rows(batch_size: int) -> int:
    """Rows of an evaluation batch, for a job that trains on batches of `batch_size`."""
    return max(batch_size, min(_ROWS, _LARGER * batch_size))


def predict(
    module: nn.Module, split: Split, view: View, batch_size: int, check: Check, precision: Precision | None = None
) -> Tensor:
    """Logits (n, C) in float32, rows in the order of the split; `check` may raise between batches.

    Without a precision it computes in float32: what is reported in the end is what anyone computes from the file.
    """
    parts = []
    with evaluating(module):
        for positions_B in split.in_order(batch_rows(batch_size)):
            x = view(split.take(positions_B).raw)
            if precision is None:
                logits = module(x)
            else:
                with precision.autocast():
                    logits = module(x)
            parts.append(logits.float())
            check()
    return torch.cat(parts)

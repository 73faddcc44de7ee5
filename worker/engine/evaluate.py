"""What a network says of a whole split, every row of it, and the mode it was in before."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from worker.engine.data import Split
from worker.engine.networks import evaluating
from worker.engine.normalise import View
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.sources.source import Says

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


def ask(teacher: Says, split: Split, batch_size: int, check: Check) -> Outputs:
    """What the teacher says of a split, in float32 arithmetic: logits (n, C) and weights, of its members as well."""
    parts = []
    for positions_B in split.in_order(batch_rows(batch_size)):
        parts.append(_spoken(teacher(split.take(positions_B), exact=True)))
        check()
    return _joined(parts)


def _spoken(outputs: Outputs) -> Outputs:
    """Without features and embeddings, which would fill the memory."""
    members = {name: _spoken(member) for name, member in outputs.members.items()}
    return Outputs(outputs.logits, weight=outputs.weight, members=members)


def _joined(parts: Sequence[Outputs]) -> Outputs:
    first = parts[0]
    return Outputs(
        torch.cat([part.logits for part in parts]),
        weight=None if first.weight is None else torch.cat([part.weight for part in parts if part.weight is not None]),
        members={name: _joined([part.members[name] for part in parts]) for name in first.members},
    )

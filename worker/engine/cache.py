"""What the teacher says of training samples: asked for each batch, or once before training and then looked up.

Where training samples never change, the teacher's outputs do not either; they are computed once for each sample, in
the precision of the run, and kept on the device in float32. `exact` by construction: only the time differs.
Shapes: n rows of the training split.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.data import Split
from worker.engine.outputs import Outputs
from worker.engine.sources.source import Says

#: Kept outputs may take so many bytes. A fixed figure, so that a job decides alike wherever it is resumed.
MAX_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Kept:
    """The outputs for all samples of a split, by position: logits (n, C), embedding (n, D), features (n, ...),
    weight (n,), and the same for each member of an ensemble."""

    outputs: Outputs

    def take(self, positions_B: Tensor) -> Outputs:
        """The outputs of some samples."""
        return _each(self.outputs, lambda x: x.index_select(0, positions_B))


def fits(sample: Outputs, num_rows: int) -> bool:
    """Whether the outputs of so many rows may be kept, judged by those of a few."""
    return sum(x[0].numel() * 4 for x in _tensors(sample)) * num_rows <= MAX_BYTES


def keep(teacher: Says, split: Split, batch_size: int, device: torch.device, check: Callable[[], None]) -> Kept:
    """Runs the teacher over the split; `check` may raise between batches."""
    kept: Outputs | None = None
    for positions_B in split.in_order(batch_size):
        outputs = teacher(split.take(positions_B))
        if kept is None:
            kept = _each(outputs, lambda x: torch.empty((len(split), *x.shape[1:]), device=device))
        start = int(positions_B[0])
        for into, new in zip(_tensors(kept), _tensors(outputs), strict=True):
            into[start : start + len(new)] = new
        check()
    assert kept is not None, "there are training rows"
    return Kept(_without_ones(kept))


def _without_ones(outputs: Outputs) -> Outputs:
    """Weights that are all 1 say nothing, and a loss without weights is the cheaper one."""
    weight = None if outputs.weight is None or bool((outputs.weight == 1).all()) else outputs.weight
    members = {name: _without_ones(member) for name, member in outputs.members.items()}
    return replace(outputs, weight=weight, members=members)


def _tensors(outputs: Outputs) -> list[Tensor]:
    optional = [x for x in (outputs.embedding, outputs.weight) if x is not None]
    members = [x for member in outputs.members.values() for x in _tensors(member)]
    return [outputs.logits, *outputs.features.values(), *optional, *members]


def _each(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    return Outputs(
        change(outputs.logits),
        {name: change(x) for name, x in outputs.features.items()},
        None if outputs.embedding is None else change(outputs.embedding),
        None if outputs.weight is None else change(outputs.weight),
        {name: _each(member, change) for name, member in outputs.members.items()},
    )

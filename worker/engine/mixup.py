"""Mixup: every sample of a batch becomes a mixture of itself and another one, and so does its label.

Zhang et al. 2018, arXiv:1710.09412: x = share x_i + (1 - share) x_j, share drawn from Beta(alpha, alpha). As with the
other changes of training samples, chance is a hash and not a generator: a batch of the same samples is mixed alike in a
resumed run, whatever their order. Each sample has a share of its own; the code of the paper draws one for a batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.seeds import derive
from models.spec.training import Train
from worker.engine.augment import scatter
from worker.engine.data import Rows

#: So many draws from the distribution are made once; a sample takes one of them.
_DRAWS = 1 << 16


@dataclass(frozen=True)
class Mixed:
    """Mixtures: rows.y is the label of a share (N,) of each, and y_other (N,) that of the rest."""

    rows: Rows
    y_other: Tensor
    share: Tensor


class Mixup:
    """Mixes batches: a pure function of (seed, epoch, the ids of the batch)."""

    def __init__(self, alpha: float, seed: int) -> None:
        self._seed = seed
        draws = np.random.default_rng(derive(seed, "mixup")).beta(alpha, alpha, _DRAWS)
        self._draws = torch.from_numpy(draws.astype(np.float32))

    def __call__(self, rows: Rows, epoch: int) -> Mixed:
        """The mixtures of a batch, raw samples as float32; ids and places in memory stay those of the samples."""
        chance_N = scatter(rows.ids, derive(self._seed, "mixup", epoch))
        # The samples in a ring, in an order drawn anew each epoch: each is mixed with the next.
        ring_N = chance_N.argsort()
        other_N = torch.empty_like(ring_N)
        other_N[ring_N] = ring_N.roll(-1)
        self._draws = self._draws.to(rows.ids.device)
        share_N = self._draws[chance_N & (_DRAWS - 1)]
        raw = rows.raw.movedim(1, -1).to(torch.float32)  # images as they lie in memory
        share = share_N.reshape(-1, *[1] * (raw.ndim - 1))
        mixed = torch.lerp(raw.index_select(0, other_N), raw, share).movedim(-1, 1)
        return Mixed(Rows(mixed, rows.y, rows.ids), rows.y.index_select(0, other_N), share_N)


def from_spec(train: Train) -> Mixup | None:
    """What the spec asks for; None where samples are not mixed."""
    return None if train.mixup is None else Mixup(train.mixup, train.seed)

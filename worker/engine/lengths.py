"""Vectors without their length, and batches without their scale, safe where there is none.

A plain x / max(|x|, eps) would send a zero vector a gradient of 1 / eps; here it gets none.
"""

import torch
from torch import Tensor

from worker.engine.outputs import Batch

#: Below this length a vector has no direction. Its square is still a normal float32.
_TINY = 1e-12
#: Added to a variance, as batch normalisation does: of constant features only rounding is left.
_EPS = 1e-5


def unit(x: Tensor, dim: int) -> Tensor:
    """x over its length along `dim`; 0, without a gradient, where it has none."""
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x * ((length > _TINY).to(x.dtype) / length.clamp_min(_TINY))


def cosines(e_ND: Tensor) -> Tensor:
    """cos(e_i, e_j) for all pairs of a batch, (N, N); a zero vector has 0 with everything."""
    unit_ND = unit(e_ND, 1)
    return torch.mm(unit_ND, unit_ND.T)


def standardised(x: Tensor, batch: Batch) -> Tensor:
    """x (N, D, ...) less the mean of each channel over samples and places, over its deviation.

    Samples count by their weight, so this is batch normalisation in training where all weights are 1.
    """
    share = batch.shares(x).reshape(-1, *[1] * (x.ndim - 1))
    over = tuple(range(2, x.ndim))

    def mean(value: Tensor) -> Tensor:
        return (share * (value.mean(over, keepdim=True) if over else value)).sum(0, keepdim=True)

    centred = x - mean(x)
    return centred / (mean(centred.square()) + _EPS).sqrt()

"""Inputs that mean nothing, of the shape and kind that a network takes: to see whether it runs and what it gives."""

import torch
from torch import Tensor

from models.spec.shapes import Shape, kind_of, stored


def noise(num_rows: int, in_shape: Shape) -> Tensor:
    """(num_rows, ...), the same each time: standard normal numbers, or token ids without padding."""
    generator = torch.Generator().manual_seed(0)
    if kind_of(in_shape) == "text":
        return torch.randint(1, max(2, in_shape[0]), (num_rows, *stored(in_shape)), generator=generator).int()
    return torch.randn(num_rows, *in_shape, generator=generator)


def blank(in_shape: Shape) -> Tensor:
    """One row without numbers, on the device `meta`."""
    dtype = torch.int32 if kind_of(in_shape) == "text" else torch.float32
    return torch.empty(1, *stored(in_shape), dtype=dtype, device="meta")

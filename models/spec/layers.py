"""The layers that an architecture can be declared of, one by one."""

from math import prod
from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Entry
from models.spec.shapes import Shape, slid

Width = Annotated[int, Field(ge=1, le=16384)]


class _Layer(Entry):
    def gives(self, shape: Shape) -> Shape:
        """The shape of what it makes of a sample of this shape. Raises ValueError where it cannot take it."""
        return shape


class Conv(_Layer):
    """A 2d convolution."""

    type: Literal["conv"] = "conv"
    out: Width
    kernel: int = Field(default=3, ge=1, le=31)
    stride: int = Field(default=1, ge=1, le=16)
    padding: int | None = Field(default=None, ge=0, le=31, description="kernel // 2 where left out.")
    groups: int = Field(default=1, ge=1, le=16384)
    bias: bool = True

    def gives(self, shape: Shape) -> Shape:
        """A map of other channels and sides."""
        if shape[0] % self.groups or self.out % self.groups:
            raise ValueError("groups must divide the channels")
        padding = self.kernel // 2 if self.padding is None else self.padding
        return slid(shape, self.kernel, self.stride, padding, self.out)


class Linear(_Layer):
    """A linear layer on flattened input."""

    type: Literal["linear"] = "linear"
    out: Width
    bias: bool = True

    def gives(self, _shape: Shape) -> Shape:
        """A vector."""
        return (self.out,)


class BatchNorm(_Layer):
    """Batch normalisation over channels or features."""

    type: Literal["batch_norm"] = "batch_norm"


class Activation(_Layer):
    """A nonlinearity."""

    type: Literal["relu", "gelu", "silu", "tanh", "leaky_relu", "hardswish"]


class Pool(_Layer):
    """Max or average pooling."""

    type: Literal["max_pool", "avg_pool"]
    kernel: int = Field(default=2, ge=1, le=64)
    stride: int | None = Field(default=None, ge=1, le=64, description="The kernel where left out.")

    def gives(self, shape: Shape) -> Shape:
        """A smaller map."""
        return slid(shape, self.kernel, self.stride or self.kernel)


class GlobalPool(_Layer):
    """The mean over height and width."""

    type: Literal["global_pool"] = "global_pool"

    def gives(self, shape: Shape) -> Shape:
        """A vector of the channels."""
        if len(shape) != 3:
            raise ValueError("only a map can be pooled")
        return shape[:1]


class Flatten(_Layer):
    """(N, C, H, W) to (N, C * H * W)."""

    type: Literal["flatten"] = "flatten"

    def gives(self, shape: Shape) -> Shape:
        """A vector of all numbers."""
        return (prod(shape),)


class Dropout(_Layer):
    """Dropout."""

    type: Literal["dropout"] = "dropout"
    p: float = Field(default=0.5, ge=0, lt=1)


Layer = Annotated[
    Conv | Linear | BatchNorm | Activation | Pool | GlobalPool | Flatten | Dropout, Field(discriminator="type")
]

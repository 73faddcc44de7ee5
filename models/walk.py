"""What layers cost, added up along the way of one sample through them, without building any.

Counted as torch counts: a multiplication and an addition are two operations, of convolutions and matrix products alone.
"""

from dataclasses import dataclass
from math import prod

from models.spec.shapes import Shape, slid

#: What a number that a layer gives takes to be written and read again, in operations. Measured on a processor, where
#: networks of few operations on large maps spend most of their time so: 60 to 500 fit.
_TOUCHED = 200


@dataclass
class Cost:
    """Of a forward pass of one sample, and what is held for it."""

    flops: int = 0
    #: Trainable numbers.
    parameters: int = 0
    #: Numbers that the backward pass needs again: what products and norms give.
    activations: int = 0

    @property
    def work(self) -> int:
        """What its time goes by: operations, and what numbers take to come and go."""
        return self.flops + _TOUCHED * self.activations


class Walk:
    """A sample on its way: `shape` is what it is now, `cost` what it took. Raises ValueError where it cannot go on."""

    def __init__(self, shape: Shape, cost: Cost | None = None) -> None:
        self.shape, self.cost = shape, cost or Cost()

    def beside(self) -> "Walk":
        """A branch from here, whose cost goes into the same sum."""
        return Walk(self.shape, self.cost)

    def conv(
        self, out: int, kernel: int, stride: int = 1, *, padding: int | None = None, groups: int = 1, bias: bool = False
    ) -> "Walk":
        """A 2d convolution; padded by half of its kernel where nothing else is said."""
        shape = slid(self.shape, kernel, stride, kernel // 2 if padding is None else padding, out)
        inputs = self.shape[0]
        if out < 1 or inputs % groups or out % groups:
            raise ValueError("there must be channels, and groups must divide them")
        return self._product(shape, inputs // groups * kernel**2, out, bias=bias)

    def linear(self, out: int, *, bias: bool = True) -> "Walk":
        """A linear layer on flattened input."""
        return self._product((out,), prod(self.shape), out, bias=bias)

    def embed(self, entries: int, width: int) -> "Walk":
        """A row of a table for each token of (L,) or (L, D)."""
        self.shape = (self.shape[0], width)
        self.cost.parameters += entries * width
        self.cost.activations += prod(self.shape)
        return self

    def tokens(self, out: int) -> "Walk":
        """A linear layer on each token of (L, D)."""
        length, width = self.shape
        return self._product((length, out), width, out, bias=True)

    def windows(self, places: int, width: int, out: int) -> "Walk":
        """Filters over so many neighbouring tokens of (L, D), at so many places."""
        if places < 1:
            raise ValueError("a window is longer than the text")
        return self._product((places, out), self.shape[1] * width, out, bias=True)

    def attend(self) -> "Walk":
        """Each token of (L, D) looks at all: queries by keys, and the shares by values."""
        length, width = self.shape
        self.cost.flops += 4 * length**2 * width
        self.cost.activations += length * width
        return self

    def norm(self, at: int = 0) -> "Walk":
        """Batch normalisation; of what is at another place of the shape, layer normalisation."""
        self.cost.parameters += 2 * self.shape[at]
        self.cost.activations += prod(self.shape)
        return self

    def pool(self, kernel: int, stride: int | None = None) -> "Walk":
        """Max or average pooling."""
        self.shape = slid(self.shape, kernel, stride or kernel)
        return self

    def mean(self) -> "Walk":
        """Over height and width."""
        self.shape = self.shape[:1]
        return self

    def _product(self, shape: Shape, fan_in: int, out: int, *, bias: bool) -> "Walk":
        self.shape = shape
        self.cost.flops += 2 * fan_in * prod(shape)
        self.cost.parameters += (fan_in + bias) * out
        self.cost.activations += prod(shape)
        return self

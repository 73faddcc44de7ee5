"""In what numbers a network computes: float32, its products rounded to TF32, or bfloat16 under autocast.

Weights, losses and optimizers are float32 in any case. How one of these is chosen is said in worker.engine.choosing.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from models.spec.precision import Arithmetic, NumberFormat
from worker.engine.networks import count_flops

Wish = Literal["auto", "float32", "tf32", "bf16"] | Arithmetic

#: Floating point operations of one forward pass over a batch from which bfloat16 is faster. Measured on two cores with
#: AVX-512 BF16: a depth-8 residual network gains nothing at 64 images of 8x8 (1e8) and half as much again at 28x28.
_WORTH_IT = 2e8


@dataclass(frozen=True)
class Precision:
    """How one network computes."""

    name: NumberFormat
    device_type: str
    channels_last: bool
    compiled: bool = False

    @property
    def arithmetic(self) -> Arithmetic:
        """The same as the spec says it."""
        return Arithmetic(name=self.name, channels_last=self.channels_last, compile=self.compiled)

    def autocast(self) -> AbstractContextManager[object]:
        """For the forward pass; losses are taken outside of it."""
        if self.name == "bf16":
            return torch.autocast(self.device_type, torch.bfloat16)
        return self.products()

    def products(self) -> AbstractContextManager[object]:
        """For the backward pass, which has no autocast of its own."""
        return _rounded_products() if self.name == "tf32" and self.device_type == "cuda" else nullcontext()

    def lay_out(self, module: nn.Module) -> nn.Module:
        """The module with its convolutions in the memory order that images come in."""
        return module.to(memory_format=torch.channels_last) if self.channels_last else module  # type: ignore[call-overload]


def choose(
    wish: Wish,
    module: nn.Module,
    in_shape: tuple[int, ...],
    batch_size: int,
    device: torch.device,
) -> Precision:
    """The precision for a network that sees batches of (batch_size, *in_shape): as wished, and `auto` by a rule.

    The rule is bfloat16 where the device has instructions for it, the network convolves, and a batch is work enough to
    pay for the casts of the weights.
    """
    convolves = any(isinstance(part, nn.Conv2d) for part in module.modules())
    if isinstance(wish, Arithmetic):
        return Precision(wish.name, device.type, convolves and wish.channels_last, wish.compile)
    name: NumberFormat = "float32"
    if wish != "auto":
        name = wish
    elif convolves and computes_bf16(device) and batch_size * count_flops(module, in_shape) >= _WORTH_IT:
        name = "bf16"
    return Precision(name, device.type, convolves)


def computes_bf16(device: torch.device) -> bool:
    """True where bfloat16 is multiplied by the hardware and not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Every processor with AMX has these instructions as well. torch 2.11 has no public way to ask.
    return bool(torch.cpu._is_avx512_bf16_supported())


def exact_products() -> None:
    """From now on float32 is float32; torch lets cuDNN round products to TF32 unless told."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


@contextmanager
def _rounded_products() -> Iterator[None]:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        exact_products()

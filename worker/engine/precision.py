"""In what numbers a network computes: float32, or bfloat16 under autocast with float32 weights.

`auto` is a rule and not a race, so that the same job computes the same way wherever it is resumed: bfloat16 where the
device has instructions for it, the network convolves, and a batch is work enough to pay for the casts of the weights.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from worker.engine.networks import count_flops

Name = Literal["float32", "bf16"]
Wish = Literal["auto", "float32", "bf16"]

#: Floating point operations of one forward pass over a batch from which bfloat16 is faster. Measured on two cores with
#: AVX-512 BF16: a depth-8 residual network gains nothing at 64 images of 8x8 (1e8) and half as much again at 28x28.
_WORTH_IT = 2e8


@dataclass(frozen=True)
class Precision:
    """How one network computes."""

    name: Name
    device_type: str
    channels_last: bool

    def autocast(self) -> AbstractContextManager[object]:
        """For the forward pass; losses are taken outside of it."""
        return torch.autocast(self.device_type, torch.bfloat16) if self.name == "bf16" else nullcontext()

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
    """The precision for a network that sees batches of (batch_size, *in_shape)."""
    convolves = any(isinstance(part, nn.Conv2d) for part in module.modules())
    name: Name = "float32"
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

"""The student as numbers alone: what is written, and what it must still compute once it has been read back."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.func import functional_call

from worker.engine.networks import evaluating
from worker.engine.noise import noise
from worker.engine.taps import unwrapped

#: How many samples what was written is compared on.
NUM_SAMPLES = 2


def plain_state(module: nn.Module) -> OrderedDict[str, Tensor]:
    """The state_dict of the bare network: contiguous tensors of their own on the CPU, floats as float32."""
    state = unwrapped(module).state_dict()
    return OrderedDict((name, _plain(tensor)) for name, tensor in state.items())


def samples(in_shape: tuple[int, ...]) -> Tensor:
    """NUM_SAMPLES inputs of the kind that the network takes, the same each time."""
    return noise(NUM_SAMPLES, in_shape)


def outputs(module: nn.Module, x: Tensor) -> Tensor:
    """What the network says of x in evaluation mode, on the CPU and in float32, wherever and however it was trained."""
    bare = unwrapped(module)
    # Buffers that are not saved are needed as well, so this is more than the state_dict.
    numbers = {name: _plain(tensor) for name, tensor in (*bare.named_parameters(), *bare.named_buffers())}
    with evaluating(bare):
        out: Tensor = functional_call(bare, numbers, x)
    return out


def _plain(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()

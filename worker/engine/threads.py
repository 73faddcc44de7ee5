"""How many threads of the CPU a lesson's steps take.

Threads that share a step wait for each other several times in it. In a small network that costs what it gains, and many
times more where other processes want the same cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Floating point operations of a forward pass over a batch from which a second thread gains anything: perceptrons on
#: two cores gained nothing at 4e6, a seventh at 7e6, a third at 1.4e7.
_WORTH_SHARING = 5e6


@contextmanager
def enough_for(flops: float) -> Iterator[None]:
    """One thread where a forward pass over a batch is not worth sharing; afterwards as many as there were before."""
    threads = torch.get_num_threads()
    if flops < _WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""Neuron selectivity transfer: the distance of two sets of channel maps by a polynomial kernel of degree 2.

Huang, Wang 2017, arXiv:1707.01219, equation 5: the squared maximum mean discrepancy of the channels' maps, each over
its length. The squared products of all channels sum up to a product of two small matrices, over places or over
channels, whichever is smaller: nothing of size c_s x c_t x places is made.
"""

import torch
from torch import Tensor

from models.spec.losses import structure as menu
from worker.engine import align
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class NST(Term):
    """MMD^2 between the student's and the teacher's channels, averaged over samples and then taps."""

    def __init__(self, spec: menu.NST, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)
        align.refuse_vectors("nst", self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the channels are spread alike over the places."""
        values = []
        for pair in self.pairs:
            s, t = (unit(align.places(x), 2) for x in align.read(pair, student, teacher))
            values.append(batch.mean(_discrepancy(s, t)))
        return torch.stack(values).mean()


def _discrepancy(s_NCP: Tensor, t_NCP: Tensor) -> Tensor:
    """(N,). sum_{c,c'} (s_c . t_c')^2 = <S^T S, T^T T>, so the three sums are one square over places."""
    if s_NCP.shape[2] <= max(s_NCP.shape[1], t_NCP.shape[1]):
        return (_over_places(s_NCP) - _over_places(t_NCP)).square().sum((1, 2))
    return _kernel(s_NCP, s_NCP) + _kernel(t_NCP, t_NCP) - 2 * _kernel(s_NCP, t_NCP)


def _over_places(x_NCP: Tensor) -> Tensor:
    return x_NCP.transpose(1, 2) @ x_NCP / x_NCP.shape[1]


def _kernel(x_NCP: Tensor, y_NCP: Tensor) -> Tensor:
    return (x_NCP @ y_NCP.transpose(1, 2)).square().mean((1, 2))

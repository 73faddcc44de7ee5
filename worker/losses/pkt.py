"""Probabilistic knowledge transfer: the divergence of the distributions of each sample's neighbours.

Passalis, Tefas 2018, arXiv:1803.10837: equation 2 (conditional probabilities, without the sample itself), the cosine
kernel shifted to 0..1, and the divergence summed over a row and averaged over rows. An average over all B^2 entries,
as in copied code, is B times less.
"""

import torch
from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine.lengths import cosines
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term

#: The least kernel between two samples: opposite directions would have a logarithm of 0.
_LEAST = 1e-6


class PKT(Term):
    """sum_j p_t^{j|i} (log p_t^{j|i} - log p_s^{j|i}), averaged over i."""

    min_batch = 3  # the one neighbour among two samples is certain
    per_sample = False

    def __init__(self, _spec: menu.PKT, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where every sample has its neighbours with the same probabilities."""
        s_ND, t_ND = embeddings(student, teacher)
        # A neighbour counts by its weight, and so does a row.
        present_NN = batch.shares(s_ND)[None, :] * (1 - torch.eye(len(s_ND), dtype=s_ND.dtype, device=s_ND.device))
        s_NN, t_NN = _given(s_ND, present_NN), _given(t_ND, present_NN)
        return batch.mean((present_NN * t_NN * (t_NN.log() - s_NN.log())).sum(1))


def _given(e_ND: Tensor, present_NN: Tensor) -> Tensor:
    """The probability of each neighbour j of i, for one unit of j's weight."""
    kernel_NN = ((1 + cosines(e_ND)) / 2).clamp_min(_LEAST)
    total_N1 = (kernel_NN * present_NN).sum(1, keepdim=True)
    return kernel_NN / torch.where(total_N1 > 0, total_N1, 1.0)

"""Squared difference of the pairwise distances of a batch, each network's divided by their mean.

Park et al. 2019, RKD, arXiv:1904.05068, equation 4 for the normalised distance; the difference is squared here, where
the paper takes Huber's loss. It reads the embedding before the last linear layer; the two widths may differ.
"""

import torch
from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term

#: A mean distance below this is that of samples that all coincide.
_TINY = 1e-12


class Distance(Term):
    """(d_s^ij / mean d_s - d_t^ij / mean d_t)^2, averaged over pairs of different samples."""

    min_batch = 3  # the one distance between two samples is its own mean, whatever it is
    per_sample = False

    def __init__(self, _spec: menu.Distance, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two sets of points are alike up to one scale."""
        s_ND, t_ND = embeddings(student, teacher)
        difference_NN = _normalised(s_ND, batch) - _normalised(t_ND, batch)
        return batch.mean_of_pairs(difference_NN.square())


def _normalised(e_ND: Tensor, batch: Batch) -> Tensor:
    """Distances over their mean; all 0 where the samples coincide."""
    # Without the matrix-product form: that one loses small distances to cancellation. Here the gradient of a distance
    # of 0 is 0, where the plain square root of a sum of squares would make it infinite.
    distance_NN = torch.cdist(e_ND, e_ND, compute_mode="donot_use_mm_for_euclid_dist")
    return distance_NN / batch.mean_of_pairs(distance_NN).clamp_min(_TINY)

"""Relational knowledge distillation: distances of pairs and angles of triples, compared by a smooth L1 error.

Park et al. 2019, arXiv:1904.05068: equation 4 (distances over their mean), 6 (angles), 3 (Huber's loss). It reads the
embedding before the last linear layer; the two widths may differ. The mean goes over pairs and triples of different
samples. Angles are taken a few vertices at a time and again in the backward pass, so that nothing of size B^3 is kept
and nothing of size B^3 x D is ever made.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.spec.losses import relation as menu
from worker.engine.lengths import unit
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term

#: A mean distance below this is that of samples that all coincide.
_TINY = 1e-12
#: How many numbers a tensor of the angles may have.
_CHUNK = 1 << 21


class RKD(Term):
    """Distances and angles, each by its own weight."""

    min_batch = 3  # the one distance between two samples is its own mean, and a triangle has three corners
    per_sample = False

    def __init__(self, spec: menu.RKD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.distance, self.angle = spec.distance, spec.angle

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two sets of points are alike up to one scale."""
        s_ND, t_ND = embeddings(student, teacher)
        value = 0.0 * s_ND.sum()
        if self.distance:
            distance_NN = F.smooth_l1_loss(_distances(s_ND, batch), _distances(t_ND, batch), reduction="none")
            value = value + self.distance * batch.mean_of_pairs(distance_NN)
        return value + self.angle * _angles(s_ND, t_ND, batch) if self.angle else value


def _distances(e_ND: Tensor, batch: Batch) -> Tensor:
    """Distances over their mean; all 0 where the samples coincide."""
    distance_NN = torch.cdist(e_ND, e_ND, compute_mode="donot_use_mm_for_euclid_dist")
    return distance_NN / batch.mean_of_pairs(distance_NN).clamp_min(_TINY)


def _angles(s_ND: Tensor, t_ND: Tensor, batch: Batch) -> Tensor:
    """The error of the angle's cosine at j between i and k, averaged over triples by the product of their weights."""
    N = len(s_ND)
    share_N = batch.shares(s_ND)
    size = max(1, _CHUNK // (N * max(N, s_ND.shape[1], t_ND.shape[1])))
    total, weight = torch.zeros_like(share_N[0]), torch.zeros_like(share_N[0])
    for first in range(0, N, size):
        vertices = torch.arange(first, min(first + size, N), device=s_ND.device)
        parts = checkpoint(_at, s_ND, t_ND, share_N, vertices, use_reentrant=False, preserve_rng_state=False)
        total, weight = total + parts[0], weight + parts[1]
    return total / torch.where(weight > 0, weight, torch.ones_like(weight))


def _at(s_ND: Tensor, t_ND: Tensor, share_N: Tensor, vertices_J: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of the errors at some vertices, and the sum of the weights."""
    error_JNN = F.smooth_l1_loss(_cosines(s_ND, vertices_J), _cosines(t_ND, vertices_J), reduction="none")
    samples_N = torch.arange(len(s_ND), device=s_ND.device)
    other_JN = (samples_N != vertices_J[:, None]).to(share_N.dtype) * share_N
    apart_NN = (samples_N != samples_N[:, None]).to(share_N.dtype)
    weight_JNN = (share_N[vertices_J, None] * other_JN)[:, :, None] * other_JN[:, None, :] * apart_NN
    return (error_JNN * weight_JNN).sum(), weight_JNN.sum()


def _cosines(e_ND: Tensor, vertices_J: Tensor) -> Tensor:
    """(J, N, N): the cosine of the angle at each vertex between each two samples, 0 where one lies on the vertex."""
    away_JND = unit(e_ND - e_ND[vertices_J, None], 2)
    return away_JND @ away_JND.transpose(1, 2)

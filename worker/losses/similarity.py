"""Squared difference of the pairwise cosine similarities of a batch.

The cosine kernel of Passalis, Tefas 2018, arXiv:1803.10837, compared by squared error. It reads the embedding before
the last linear layer; the two widths may differ. A zero vector has similarity 0 with everything and gets no gradient.
"""

import torch
from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term

#: Below this length a vector has no direction. Its square is still a normal float32.
_TINY = 1e-12


class Similarity(Term):
    """(cos_s^ij - cos_t^ij)^2, averaged over pairs of different samples."""

    min_batch = 2
    per_sample = False

    def __init__(self, _spec: menu.Similarity, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where all angles between samples agree."""
        assert student.embedding is not None
        assert teacher.embedding is not None
        difference_NN = _cosines(student.embedding) - _cosines(teacher.embedding)
        return batch.mean_of_pairs(difference_NN.square())


def _cosines(e_ND: Tensor) -> Tensor:
    e_ND = full(e_ND)
    length_N1 = torch.linalg.vector_norm(e_ND, dim=1, keepdim=True)
    # A plain x / max(|x|, eps) would send a zero vector a gradient of 1 / eps.
    inverse_N1 = (length_N1 > _TINY).to(e_ND.dtype) / length_N1.clamp_min(_TINY)
    unit_ND = e_ND * inverse_N1
    return torch.mm(unit_ND, unit_ND.T)

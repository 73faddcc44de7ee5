"""Similarity preserving: the Gram matrices of a batch's features, each row over its root mean square, compared.

Tung, Mori 2019, arXiv:1907.09682, equations 1 to 4. The paper divides a row by its length and the sum by B^2, which
makes its value shrink as 1 / B; this one is B times that, so that a weight means the same for every size of batch.
"""

import torch
from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term

#: A row whose mean square is below this has no similarities to speak of.
_TINY = 1e-30


class SP(Term):
    """(G_s^ij / r_s^i - G_t^ij / r_t^i)^2, averaged over all pairs of samples and then taps."""

    min_batch = 2

    def __init__(self, spec: menu.SP, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.pairs = align.paired(spec.taps)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the same samples are alike to the same degree."""
        values = []
        for pair in self.pairs:
            s_NN = _rows(full(student.features[pair.student]), batch)
            t_NN = _rows(full(teacher.features[pair.teacher]), batch)
            values.append(batch.mean_of_all_pairs((s_NN - t_NN).square()))
        return torch.stack(values).mean()


def _rows(x: Tensor, batch: Batch) -> Tensor:
    """The Gram matrix, each row over its root mean square; 0, without a gradient, where a row is."""
    x_ND = x.flatten(1)
    gram_NN = x_ND @ x_ND.T
    square_N1 = gram_NN.square() @ batch.shares(x)[:, None]
    there_N1 = square_N1 > _TINY
    return gram_NN * (there_N1.to(x.dtype) / torch.where(there_N1, square_N1, 1.0).sqrt())

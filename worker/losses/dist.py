"""DIST: correlations in place of divergences, over the classes of a sample and over the samples of a class.

Huang et al. 2022, NeurIPS, arXiv:2205.10536. Pearson's correlation asks for the teacher's ranking
and spacing, not for its values. It has no value where one side is constant and is 0 there, without a gradient. The
part within a class needs two samples; where a batch has one, it adds nothing. As in the paper there is no T squared:
a correlation does not change with scale. With two classes the part between classes is 0 or 2, without a gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term

#: Below so many roundings of its own size, what is left of a vector after its mean is taken off is noise.
_ROUNDINGS = 8


class DIST(Term):
    """beta mean_B(1 - r over classes) + gamma mean_C(1 - r over samples), on softened probabilities."""

    def __init__(self, spec: menu.DIST, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.beta, self.gamma = spec.T, spec.beta, spec.gamma

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where rows and columns of probabilities are the teacher's, times a positive number, plus a constant."""
        s_NC = F.softmax(full(student.logits) / self.T, dim=1)
        t_NC = F.softmax(full(teacher.logits) / self.T, dim=1)
        weight_N = torch.ones_like(s_NC[:, 0]) if batch.weight is None else batch.weight.to(s_NC.dtype)
        between_N = 1 - _correlation(s_NC.T, t_NC.T, torch.ones_like(s_NC[0]))
        within_C = 1 - _correlation(s_NC, t_NC, weight_N)
        has_two = (weight_N > 0).sum() > 1
        return self.beta * batch.mean(between_N) + self.gamma * has_two * within_C.mean()


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Pearson's r down the columns, each row by its weight."""
    share = (weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny))[:, None]
    return (share * _standardised(a, share) * _standardised(b, share)).sum(0)


def _standardised(x: Tensor, share: Tensor) -> Tensor:
    """Columns of mean 0 and variance 1; all 0 where a column is constant."""
    centred = x - (share * x).sum(0)
    variance, size = (share * centred.square()).sum(0), (share * x.square()).sum(0)
    limits = torch.finfo(x.dtype)
    varies = variance > (_ROUNDINGS * limits.eps) ** 2 * size + limits.tiny
    # The root is taken of 1 where there is no variance: its slope at 0 is infinite, and infinity times 0 no number.
    return centred * varies * torch.where(varies, variance, 1.0).rsqrt()

"""Weighted transformed teacher matching: `ttm` with more weight where the teacher is unsure.

Zheng, Yang 2024, ICLR, arXiv:2402.11148, section 4. The weight of a sample is the sum of the powers, sum p_t^(1 / T):
1 for a teacher that names one class, C^(1 - 1 / T) for one that names none. The term therefore grows with the number
of classes.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class WTTM(Term):
    """U KL(p_t^T || p_s) with U = sum p_t^(1 / T), averaged over samples."""

    least_at_teacher = False

    def __init__(self, spec: menu.WTTM, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T = spec.T

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the student's logits are the teacher's over T, up to a constant."""
        powers_NC = F.log_softmax(full(teacher.logits), dim=1) / self.T
        kl_N = kl(F.log_softmax(powers_NC, dim=1), F.log_softmax(full(student.logits), dim=1))
        return batch.mean(powers_NC.logsumexp(1).exp() * kl_N)

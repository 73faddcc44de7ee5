"""Skewed KL divergence of each token: from one side to a mixture of both.

Ko et al. 2024, DistiLLM, arXiv:2402.03898. With a skew of 0 it is forward_kl or reverse_kl.
"""

import math

import torch
from torch import Tensor

from models.spec.losses import token as menu
from worker.engine.distributions import buckets, total
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class SkewKL(Term):
    """T^2 KL(p || skew p + (1 - skew) q), p the side it starts from, averaged over tokens."""

    def __init__(self, spec: menu.SkewKL, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.skew, self.top_k = spec.T, spec.skew, spec.top_k
        self.from_teacher = spec.direction == "forward"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        log_s, log_t, inside = buckets(full(student.logits) / self.T, full(teacher.logits) / self.T, self.top_k)
        log_p, log_q = (log_t, log_s) if self.from_teacher else (log_s, log_t)
        log_m = log_q
        if self.skew:
            log_m = torch.logaddexp(log_p + math.log(self.skew), log_q + math.log1p(-self.skew))
        return self.T**2 * batch.mean(total(log_p.exp() * (log_p - log_m), inside))

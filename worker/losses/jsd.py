"""Generalised Jensen-Shannon divergence of each token.

Agarwal et al. 2023, GKD, arXiv:2306.13649, equation 1: beta is both the teacher's share of the mixture and the weight
of the teacher's divergence from it. Over beta it tends to KL(p_t || p_s) as beta goes to 0; over 1 - beta to
KL(p_s || p_t) as it goes to 1.
"""

import math

import torch
from torch import Tensor

from models.spec.losses import token as menu
from worker.engine.distributions import buckets, total
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class JSD(Term):
    """T^2 (beta KL(p_t || m) + (1 - beta) KL(p_s || m)), averaged over tokens."""

    def __init__(self, spec: menu.JSD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.beta, self.top_k = spec.T, spec.beta, spec.top_k

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        log_s, log_t, inside = buckets(full(student.logits) / self.T, full(teacher.logits) / self.T, self.top_k)
        log_m = torch.logaddexp(log_t + math.log(self.beta), log_s + math.log1p(-self.beta))
        value = self.beta * log_t.exp() * (log_t - log_m) + (1 - self.beta) * log_s.exp() * (log_s - log_m)
        return self.T**2 * batch.mean(total(value, inside))

"""Decoupled knowledge distillation: the target class and the rest of the classes, each with a weight of its own.

Zhao et al. 2022, CVPR, arXiv:2203.08679, equation 7. KL splits into that of (target, rest) and, times the teacher's
share of the rest, that of the classes within the rest. DKD frees the second from that share, which a sure teacher
makes small. Both come from log-sum-exp, so that no logarithm of a rounded 0 is taken. With two classes the rest is one
class, its divergence 0 and the loss half empty: refused.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl, others
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term, refuse_few_classes


class DKD(Term):
    """T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)), averaged over samples."""

    def __init__(self, spec: menu.DKD, student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        refuse_few_classes(spec, student)
        self.T, self.alpha, self.beta = spec.T, spec.alpha, spec.beta

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        b_s, q_s = self._split(student.logits, batch.y)
        b_t, q_t = self._split(teacher.logits, batch.y)
        return self.T**2 * batch.mean(self.alpha * kl(b_t, b_s) + self.beta * kl(q_t, q_s))

    def _split(self, logits_NC: Tensor, y_N: Tensor) -> tuple[Tensor, Tensor]:
        """log (p_y, 1 - p_y), (N, 2), and the log-distribution over the other classes, (N, C - 1)."""
        logits_NC = full(logits_NC) / self.T
        rest = others(logits_NC, y_N)
        target_N1 = logits_NC.gather(1, y_N[:, None])
        binary = torch.cat([target_N1, rest.logsumexp(1, keepdim=True)], dim=1)
        return F.log_softmax(binary, dim=1), F.log_softmax(rest, dim=1)

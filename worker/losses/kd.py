"""Knowledge distillation: KL divergence of temperature-softened distributions, times T squared.

Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2. The gradient on the student's logits is T (p_s - p_t) / B,
whose size hardly depends on T; without the T squared it would shrink by 1 / T^2.

With `standardize`, each sample's logits are first shifted and scaled to mean 0 and standard deviation 1 (over its
classes, the divisor C), for both networks: Sun et al. 2024, CVPR, arXiv:2403.01427, algorithm 1. The student then
learns how logits lie to each other and may keep a scale of its own. Equal logits stay equal, and get no gradient. Two
classes always become -1 and 1, which teaches nothing: refused.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl
from worker.engine.outputs import Outputs
from worker.engine.term import OnLogits, refuse_few_classes

#: Below so many roundings of the logits' own size, their deviation is noise.
_ROUNDINGS = 8


class KD(OnLogits):
    """T^2 KL(p_t || p_s), summed over classes, averaged over samples."""

    def __init__(self, spec: menu.KD, student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        refuse_few_classes(spec, student)
        self.T, self.standardize = spec.T, spec.standardize
        self.knows_gradient = not spec.standardize

    def of_each(self, student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        """0 where the two distributions agree."""
        log_s_NC, log_t_NC = (F.log_softmax(self._prepared(x), dim=1) for x in (student_NC, teacher_NC))
        return self.T**2 * kl(log_t_NC, log_s_NC)

    def gradient(self, student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        """T (p_s - p_t)."""
        p_s_NC, p_t_NC = (F.softmax(x / self.T, dim=1) for x in (student_NC, teacher_NC))
        return p_s_NC.sub_(p_t_NC).mul_(self.T)

    def _prepared(self, logits_NC: Tensor) -> Tensor:
        return (_standardised(logits_NC) if self.standardize else logits_NC) / self.T


def _standardised(logits_NC: Tensor) -> Tensor:
    """Rows of mean 0 and variance 1; all 0 where the logits of a row are equal."""
    centred = logits_NC - logits_NC.mean(1, keepdim=True)
    variance, size = centred.square().mean(1, keepdim=True), logits_NC.square().mean(1, keepdim=True)
    limits = torch.finfo(logits_NC.dtype)
    varies = variance > (_ROUNDINGS * limits.eps) ** 2 * size + limits.tiny
    return centred * varies * torch.where(varies, variance, 1.0).rsqrt()

"""Curriculum temperature: kd whose temperature is learned, and learned to make things hard for the student.

Li et al. 2023, AAAI, arXiv:2211.16231, in its global form. The temperature takes the gradient of the loss with the
sign turned, times a factor that rises from 0 to 1 along half a cosine. An adversary left alone runs away, so the
temperature is T_min + (T_max - T_min) sigmoid(theta): theta is free, and T stays within its bounds.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class CTKD(Term):
    """T^2 KL(p_t || p_s) with a learned T, averaged over samples."""

    true_gradient = False

    def __init__(self, spec: menu.CTKD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T_min, self.T_max, self.ramp = spec.T_min, spec.T_max, spec.ramp
        share = (spec.T_start - spec.T_min) / (spec.T_max - spec.T_min)
        self.theta = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        T = self.T_min + (self.T_max - self.T_min) * self.theta.sigmoid()
        turned = self._turned(batch.progress)
        # The value is T; the derivative by T is -turned.
        T = (1 + turned) * T.detach() - turned * T
        log_s_NC = F.log_softmax(full(student.logits) / T, dim=1)
        log_t_NC = F.log_softmax(full(teacher.logits) / T, dim=1)
        return T**2 * batch.mean(kl(log_t_NC, log_s_NC))

    def _turned(self, progress: float) -> float:
        """How much of the gradient reaches the temperature, sign turned: 0 at the start, 1 from the ramp's end on."""
        done = min(progress / self.ramp, 1.0) if self.ramp else 1.0
        return 0.5 * (1 - math.cos(math.pi * done))

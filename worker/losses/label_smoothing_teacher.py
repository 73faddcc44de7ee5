"""Teacher-free distillation: a teacher made by hand, sure of the label and even about the rest.

Yuan et al. 2020, CVPR, arXiv:1909.11723, section 4.2 (Tf-KD, regularisation). The hand-made distribution has the share
`confidence` at the label. It is softened as that of a teacher would be, its logarithms divided by T; dividing the
probabilities themselves would make it even whatever the confidence. The teacher of the job is not read.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class LabelSmoothingTeacher(Term):
    """T^2 KL(p_d^T || p_s^T), averaged over samples, p_d made from the label."""

    least_at_teacher = False

    def __init__(self, spec: menu.LabelSmoothingTeacher, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.confidence = spec.T, spec.confidence

    def forward(self, student: Outputs, _teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the student has `confidence` at the label and is even about the rest."""
        s_NC = full(student.logits)
        made_NC = torch.full_like(s_NC, (1 - self.confidence) / (s_NC.shape[1] - 1))
        made_NC = made_NC.scatter(1, batch.y[:, None], self.confidence)
        log_d_NC = F.log_softmax(made_NC.log() / self.T, dim=1)
        return self.T**2 * batch.mean(kl(log_d_NC, F.log_softmax(s_NC / self.T, dim=1)))

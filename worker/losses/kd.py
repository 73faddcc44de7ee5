"""Knowledge distillation: KL divergence of temperature-softened distributions, times T squared.

Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2. The gradient on the student's logits is T (p_s - p_t) / B,
whose size hardly depends on T; without the T squared it would shrink by 1 / T^2.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class KD(Term):
    """T^2 KL(p_t || p_s), summed over classes, averaged over samples."""

    def __init__(self, spec: menu.KD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T = spec.T

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        log_s_NC = F.log_softmax(full(student.logits) / self.T, dim=1)
        log_t_NC = F.log_softmax(full(teacher.logits) / self.T, dim=1)
        kl_N = F.kl_div(log_s_NC, log_t_NC, reduction="none", log_target=True).sum(1)
        return self.T**2 * batch.mean(kl_N)

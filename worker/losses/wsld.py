"""Weighted soft labels: soft cross-entropy, each sample by how far the student still is from the label.

Zhou et al. 2021, ICLR, arXiv:2102.00650, equation 8. The weight compares the cross-entropies with the label at
temperature 1, the student's over the teacher's: near 0 for what the student knows better than the teacher. It is a
number, not a way for gradients. The value stays above 0: it is a cross-entropy.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term

#: A cross-entropy below this is that of a teacher without doubt.
_TINY = 1e-7


class WSLD(Term):
    """T^2 (1 - exp(-CE_s / CE_t)) CE(p_t^T, p_s^T), averaged over samples."""

    true_gradient = False

    def __init__(self, spec: menu.WSLD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T = spec.T

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """(1 - 1/e) T^2 times the teacher's entropy where the logits agree."""
        s_NC, t_NC = full(student.logits), full(teacher.logits)
        hard_s_N = F.cross_entropy(s_NC.detach(), batch.y, reduction="none")
        hard_t_N = F.cross_entropy(t_NC, batch.y, reduction="none")
        weight_N = -(-hard_s_N / hard_t_N.clamp_min(_TINY)).expm1()
        soft_N = F.cross_entropy(s_NC / self.T, F.softmax(t_NC / self.T, dim=1), reduction="none")
        return self.T**2 * batch.mean(weight_N * soft_N)

"""Transformed teacher matching: the teacher is softened, the student is not.

Zheng, Yang 2024, ICLR, arXiv:2402.11148, section 3. Dividing logits by T raises probabilities to the power 1 / T, a
transform of the teacher alone here. There is no T squared: the student's side has no temperature, and the gradient on
its logits is (p_s - p_t^T) / B. A student that copies the teacher is too sharp, and so not at the least.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class TTM(Term):
    """KL(p_t^T || p_s), averaged over samples."""

    least_at_teacher = False

    def __init__(self, spec: menu.TTM, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T = spec.T

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the student's logits are the teacher's over T, up to a constant."""
        log_t_NC = F.log_softmax(full(teacher.logits) / self.T, dim=1)
        return batch.mean(kl(log_t_NC, F.log_softmax(full(student.logits), dim=1)))

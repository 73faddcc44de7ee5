"""Normalised knowledge distillation: the target class as the teacher weighs it, and the others as a distribution.

Yang et al. 2023, ICCV, arXiv:2303.13005, section 3. The target's share is taken at temperature 1; the others add up
to 1 by themselves. The value stays above 0, and a student that copies the teacher is not at its least: the first part
asks for all the share of the target class. With two classes the second part is always 0: refused.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import others
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term, refuse_few_classes


class NKD(Term):
    """- p_t[y] log p_s[y] - gamma T^2 sum_{i != y} n_t log n_s, averaged over samples."""

    least_at_teacher = False

    def __init__(self, spec: menu.NKD, student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        refuse_few_classes(spec, student)
        self.T, self.gamma = spec.T, spec.gamma

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Least where the target has all of the student's share and the others lie as with the teacher."""
        s_NC, t_NC, y_N1 = full(student.logits), full(teacher.logits), batch.y[:, None]
        target_N = -t_NC.softmax(1).gather(1, y_N1)[:, 0] * F.log_softmax(s_NC, dim=1).gather(1, y_N1)[:, 0]
        n_t = F.softmax(others(t_NC, batch.y) / self.T, dim=1)
        rest_N = F.cross_entropy(others(s_NC, batch.y) / self.T, n_t, reduction="none")
        return batch.mean(target_N + self.gamma * self.T**2 * rest_N)

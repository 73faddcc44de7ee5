"""Cross-entropy between temperature-softened distributions, from logits on both sides.

Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2. It is `kd` plus T squared times the teacher's entropy, which
no student can change: the gradients are the same, and the value does not fall to 0.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class SoftCrossEntropy(Term):
    """- T^2 sum_C p_t log p_s, averaged over samples."""

    def __init__(self, spec: menu.SoftCrossEntropy, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T = spec.T

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """T^2 times the teacher's entropy where the two distributions agree."""
        p_t_NC = F.softmax(full(teacher.logits) / self.T, dim=1)
        ce_N = F.cross_entropy(full(student.logits) / self.T, p_t_NC, reduction="none")
        return self.T**2 * batch.mean(ce_N)

"""Hard-label distillation: cross-entropy with the class that the teacher finds most likely.

Touvron et al. 2021, DeiT, arXiv:2012.12877, equation 3, on the one set of logits that a student has; the token that
DeiT adds for it, with a head of its own, is not part of this loss. Of classes that the teacher finds equally likely
the first counts.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class HardKD(Term):
    """- log p_s[argmax z_t], averaged over samples."""

    least_at_teacher = False

    def __init__(self, _spec: menu.HardKD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Towards 0 as the student grows sure of the teacher's class."""
        return batch.mean(F.cross_entropy(full(student.logits), teacher.logits.argmax(1), reduction="none"))

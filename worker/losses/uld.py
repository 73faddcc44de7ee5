"""Universal logit distillation: the sorted probabilities of both, whatever the classes are.

Boizard et al. 2024, arXiv:2402.12030: the Wasserstein distance between the two where moving a share from
any class to any other costs the same is the sum of the differences in sorted order. The shorter one is filled up with
zeros. Among equal probabilities the first class comes first, so that the gradient is always the same one.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import token as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class ULD(Term):
    """sum_i |p_s sorted - p_t sorted|, averaged over tokens."""

    def __init__(self, spec: menu.ULD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T = spec.T

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where both have the same probabilities, in any order."""
        width = max(student.logits.shape[1], teacher.logits.shape[1])
        difference = self._sorted(student.logits, width) - self._sorted(teacher.logits, width)
        return batch.mean(difference.abs().sum(1))

    def _sorted(self, logits_NC: Tensor, width: int) -> Tensor:
        p_NC = F.softmax(full(logits_NC) / self.T, dim=1)
        return F.pad(p_NC.sort(dim=1, descending=True, stable=True).values, (0, width - p_NC.shape[1]))

"""KL(teacher || student) of each token.

Hinton, Vinyals, Dean 2015, arXiv:1503.02531; of sequences by token: Kim, Rush 2016, arXiv:1606.07947, section 3.1.
The mean is over tokens, each by its weight: padding has weight 0 and does not count, neither above nor below.
"""

from torch import Tensor

from models.spec.losses import token as menu
from worker.engine.distributions import buckets, total
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class ForwardKL(Term):
    """T^2 KL(p_t || p_s), averaged over tokens."""

    def __init__(self, spec: menu.ForwardKL, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.top_k = spec.T, spec.top_k

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        log_s, log_t, inside = buckets(full(student.logits) / self.T, full(teacher.logits) / self.T, self.top_k)
        return self.T**2 * batch.mean(total(log_t.exp() * (log_t - log_s), inside))

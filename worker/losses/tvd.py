"""Total variation distance of each token.

Wen et al. 2023, f-DISTILL, arXiv:2307.15190, by token. There is no T squared: the gradient goes by the sign
of a difference, which no temperature makes smaller.
"""

from torch import Tensor

from models.spec.losses import token as menu
from worker.engine.distributions import buckets, total
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class TVD(Term):
    """1/2 sum_C |p_s - p_t|, averaged over tokens."""

    def __init__(self, spec: menu.TVD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.top_k = spec.T, spec.top_k

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree, 1 where they share no class."""
        log_s, log_t, inside = buckets(full(student.logits) / self.T, full(teacher.logits) / self.T, self.top_k)
        return 0.5 * batch.mean(total((log_s.exp() - log_t.exp()).abs(), inside))

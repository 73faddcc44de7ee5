"""KL(student || teacher) of each token.

Gu et al. 2023, MiniLLM, arXiv:2306.08543, equation 1, summed over the vocabulary where the paper samples sequences.
The mean is over tokens, each by its weight.
"""

from torch import Tensor

from models.spec.losses import token as menu
from worker.engine.distributions import buckets, total
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class ReverseKL(Term):
    """T^2 KL(p_s || p_t), averaged over tokens."""

    def __init__(self, spec: menu.ReverseKL, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.T, self.top_k = spec.T, spec.top_k

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the two distributions agree."""
        log_s, log_t, inside = buckets(full(student.logits) / self.T, full(teacher.logits) / self.T, self.top_k)
        return self.T**2 * batch.mean(total(log_s.exp() * (log_s - log_t), inside))

"""Ranking: the likelihood that the student's scores draw the teacher's best outputs first and in the teacher's order.

Kang et al. 2020, DE-RRD, arXiv:2012.04357, equation 7: the list-wise likelihood of Xia et al. 2008 over the first k
places, all other outputs behind them in any order. Of outputs that the teacher scores alike the earlier comes first.
"""

from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class Ranking(Term):
    """- log P(the teacher's order of its k best), over k, averaged over samples."""

    least_at_teacher = False  # scores that lie further apart in the same order are likelier still

    def __init__(self, spec: menu.Ranking, student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        # The last of all outputs is certain.
        self.k = min(spec.top_k, student.logits.shape[1] - 1)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Towards 0 as the teacher's order becomes certain."""
        order_NC = full(teacher.logits).argsort(dim=1, descending=True, stable=True)
        z_NC = full(student.logits).gather(1, order_NC)
        rest_NC = z_NC.flip(1).logcumsumexp(1).flip(1)
        return batch.mean((rest_NC - z_NC)[:, : self.k].mean(1))

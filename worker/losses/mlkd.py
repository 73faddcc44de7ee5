"""Multi-level logit distillation: single samples, how samples agree, and how classes agree, at several temperatures.

Jin et al. 2023, CVPR, "Multi-level logit distillation". Beside kd, the samples' inner products p p^T over the batch
and the classes' p^T p are compared by squared error. The paper divides those sums by B and by C; they grow with the
batch, the second with its square. Here both are means over the batch, scaled to what they are for 64 samples, so that
a weight holds for any batch. The paper's second view of each image and its mask by confidence are left out: a batch
holds one view of a sample.
"""

from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import response as menu
from worker.engine.distributions import kl
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term

#: The batch for which the sums are as in the paper.
_BATCH = 64


class MLKD(Term):
    """The mean over temperatures of T^2 KL and of squared differences of p p^T and p^T p."""

    def __init__(self, spec: menu.MLKD, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.temperatures = spec.temperatures
        self.samples, self.classes = spec.samples, spec.classes

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the distributions agree."""
        s_NC, t_NC = full(student.logits), full(teacher.logits)
        values = [self._at(T, s_NC, t_NC, batch) for T in self.temperatures]
        return sum(values[1:], values[0]) / len(values)

    def _at(self, T: float, s_NC: Tensor, t_NC: Tensor, batch: Batch) -> Tensor:
        log_s_NC, log_t_NC = F.log_softmax(s_NC / T, dim=1), F.log_softmax(t_NC / T, dim=1)
        share_N1 = _shares(log_s_NC, batch)[:, None]
        p_s_NC, p_t_NC = log_s_NC.exp(), log_t_NC.exp()
        between_NN = (p_s_NC @ p_s_NC.T - p_t_NC @ p_t_NC.T).square() * share_N1 * share_N1.T
        between_CC = (p_s_NC.T @ (share_N1 * p_s_NC) - p_t_NC.T @ (share_N1 * p_t_NC)).square()
        value = T**2 * batch.mean(kl(log_t_NC, log_s_NC))
        value = value + self.samples * _BATCH * between_NN.sum()
        return value + self.classes * _BATCH**2 * between_CC.sum() / s_NC.shape[1]


def _shares(like_NC: Tensor, batch: Batch) -> Tensor:
    """The weights of the samples over their sum, (N,); all 0 where all are 0."""
    weight_N = like_NC.new_ones(len(like_NC)) if batch.weight is None else batch.weight.to(like_NC.dtype)
    total = weight_N.sum()
    return weight_N / total.where(total > 0, 1.0)

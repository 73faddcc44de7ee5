"""Teacher-bounded regression: the squared error to the label, for the samples on which the teacher does better.

Chen et al. 2017, NeurIPS, "Learning efficient object detection models with knowledge distillation", equation 4. A
teacher's value can lie on the far side of the label, so the student is not drawn to it: the teacher only says which
samples are worth the effort.
"""

import torch
from torch import Tensor

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class BoundedRegression(Term):
    """|v_s - y|^2 where |v_s - y|^2 + margin > |v_t - y|^2, else 0; averaged over samples."""

    def __init__(self, spec: menu.BoundedRegression, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        self.margin = spec.margin

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the student is nowhere worse than the teacher, by the margin."""
        error_s_N, error_t_N = _error(student.logits, batch.y), _error(teacher.logits, batch.y)
        return batch.mean(torch.where(error_s_N + self.margin > error_t_N, error_s_N, 0.0))


def _error(value_NV: Tensor, y_N: Tensor) -> Tensor:
    """The squared distance from the label, (N,)."""
    value_NV = full(value_NV)
    return (value_NV - y_N.to(value_NV.dtype).reshape(len(value_NV), -1)).square().sum(1)

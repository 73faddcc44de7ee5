"""Mean squared difference of predicted values: distillation of a regression in its plainest form.

The values are those of the data set's own scale made standard, for teacher and student alike, so that a weight means
the same whatever the unit.
"""

from torch import Tensor

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class ValueMSE(Term):
    """(v_s - v_t)^2, averaged over values and samples."""

    def __init__(self, _spec: menu.ValueMSE, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the predictions agree."""
        return batch.mean((full(student.logits) - full(teacher.logits)).square().mean(1))

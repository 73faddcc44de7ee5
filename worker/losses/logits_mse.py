"""Mean squared difference of logits, or of predicted values in a regression. Ba, Caruana 2014, arXiv:1312.6184."""

from torch import Tensor

from models.spec.losses import response as menu
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class LogitsMSE(Term):
    """(z_s - z_t)^2, averaged over classes and samples."""

    def __init__(self, _spec: menu.LogitsMSE, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the logits agree."""
        square_NC = (full(student.logits) - full(teacher.logits)).square()
        return batch.mean(square_NC.mean(1))

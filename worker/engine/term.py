"""What every loss term is to the loop: a module that compares two `Outputs`, and a few words on its arithmetic.

A term is built from the outputs of one dry batch, so that a projector gets its shapes from the networks themselves.
Its parameters are trained with the student and kept in checkpoints, but never handed out with the student. What a term
reads (taps, embeddings) is said on the menu, models.spec.losses, where a server without torch can see it.
"""

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from core.errors import UserConfig
from models.spec.losses.term import LossTerm
from worker.engine.outputs import Batch, Outputs, full


class Term(nn.Module):
    """One term of a job's loss. `forward` gives a scalar of at least float32, before the term's weight."""

    #: How many samples a batch must have for the term to say anything. A smaller batch is worth 0.
    min_batch: int = 1
    #: True where the term is a mean over samples, so that a batch and the same batch twice give the same value.
    per_sample: ClassVar[bool] = True
    #: True where a student that says what the teacher says gets no gradient; what it is worth is 0 or `minimum`.
    least_at_teacher: ClassVar[bool] = True
    #: True where the gradient is the derivative of the value; False where the paper stops or turns a part of it.
    true_gradient: ClassVar[bool] = True
    #: True where the gradient on outputs of size 1e4 is one that float16 can hold, up to 65504.
    fits_float16: ClassVar[bool] = True

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> Any:
        """As `forward`. Whatever a term makes of it, no gradient goes to the teacher."""
        return super().__call__(student, _without_way_back(teacher), batch)

    def prepare(self, ids_M: Tensor) -> None:
        """Told once, before the first batch, the ids of all training samples in ascending order."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The value of the term for one batch."""
        raise NotImplementedError


class OnLogits(Term):
    """A term that is a mean over samples of something between logits, whose gradient may have a formula."""

    #: Whether `gradient` may be asked.
    knows_gradient: bool = True

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The mean of `of_each`."""
        return batch.mean(self.of_each(full(student.logits), full(teacher.logits)))

    def of_each(self, student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        """The value of each sample (N,)."""
        raise NotImplementedError

    def gradient(self, student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        """That of the sum of `of_each`, on the student's logits (N, C); nothing is recorded for a backward pass."""
        raise NotImplementedError


def _without_way_back(said: Outputs) -> Outputs:
    features = {name: x.detach() for name, x in said.features.items()}
    embedding = None if said.embedding is None else said.embedding.detach()
    return replace(said, logits=said.logits.detach(), features=features, embedding=embedding)


def refuse_few_classes(spec: LossTerm, student: Outputs) -> None:
    """UserConfig where the classes are fewer than the term can work with, as a job is refused before it runs."""
    least, given = spec.least_classes(), student.logits.shape[1]
    if given < least:
        message = f"as it is set, this loss needs at least {least} classes, got {given}; plain kd works with two"
        raise UserConfig.at("/type", message, code="too_few_classes")

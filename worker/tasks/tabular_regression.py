"""One number for each row of a table.

Networks are trained on the standardised target; figures are in the target's own units. Shapes: N samples, outputs
(N, 1).
"""

from math import sqrt

import torch
from torch import Tensor

from models.canonical import DatasetMeta, TeacherMeta
from models.spec.training import Train
from worker.engine import normalise
from worker.engine.outputs import Batch, has_label
from worker.engine.task import Metrics, Verdict


class TabularRegression:
    """The first of `rank` is the negative root mean squared error."""

    agreement_name = "r2 of the student's values by the teacher's"
    running_name = "mse"

    def __init__(self, data: DatasetMeta, _train: Train) -> None:
        assert data.target is not None, "a regression's record says its target"
        self.target = data.target
        self._all_labelled = data.all_labelled("train")

    def augmentation(self) -> None:
        """Rows are never changed."""

    def student_view(self, _device: torch.device) -> normalise.View:
        """As it is."""
        return normalise.as_it_is

    def teacher_view(self, _teacher: TeacherMeta, _device: torch.device) -> normalise.View:
        """As it is."""
        return normalise.as_it_is

    @property
    def knows_gradient(self) -> bool:
        """Where all samples have a target."""
        return self._all_labelled

    def hard(self, value_N1: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the standardised target, over the samples that have one."""
        if self._all_labelled:
            return batch.mean(self.hard_of_each(value_N1, batch.y))
        labelled_N = has_label(batch.y)
        # A target that is no number would spoil the gradient even at a weight of 0.
        each_N = self.hard_of_each(value_N1, torch.where(labelled_N, batch.y, 0.0))
        return batch.weighted(labelled_N.to(each_N.dtype)).mean(each_N)

    def hard_of_each(self, value_N1: Tensor, y_N: Tensor) -> Tensor:
        """The squared error."""
        return (value_N1[:, 0] - y_N).square()

    def hard_gradient(self, value_N1: Tensor, y_N: Tensor) -> Tensor:
        """2 (value - y)."""
        return (value_N1 - y_N[:, None]).mul_(2)

    def running(self, value_N1: Tensor, y_N: Tensor) -> Tensor:
        """The same without the batch's weights."""
        return self.hard(value_N1, Batch(y_N, y_N))

    def running_of_each(self, value_N1: Tensor, y_N: Tensor) -> Tensor:
        """The squared error."""
        return self.hard_of_each(value_N1, y_N)

    def metrics(self, value_N1: Tensor, y_N: Tensor) -> Metrics:
        """rmse and mae in the target's units; r2, the share of the split's variance that is explained."""
        error_N = value_N1[:, 0].double() - y_N.double()
        return {
            "rmse": sqrt(float(error_N.square().mean())) * self.target.std,
            "mae": float(error_N.abs().mean()) * self.target.std,
            "r2": _r2(value_N1[:, 0], y_N),
        }

    def details(self, _value_N1: Tensor, _y_N: Tensor) -> dict[str, object]:
        """Nothing more is to be said."""
        return {}

    def rank(self, metrics: Metrics) -> tuple[float, ...]:
        """By the root mean squared error; without labels by that to the teacher."""
        return (-metrics["rmse" if "rmse" in metrics else "rmse_to_teacher"],)

    def agreement(self, student_N1: Tensor, teacher_N1: Tensor) -> float:
        """The share of the variance of the teacher's values that the student's explain."""
        return _r2(student_N1[:, 0], teacher_N1[:, 0])

    def likeness(self, student_N1: Tensor, teacher_N1: Tensor) -> Metrics:
        """rmse_to_teacher and mae_to_teacher in the target's units; agreement as above."""
        error_N = student_N1[:, 0].double() - teacher_N1[:, 0].double()
        return {
            "rmse_to_teacher": sqrt(float(error_N.square().mean())) * self.target.std,
            "mae_to_teacher": float(error_N.abs().mean()) * self.target.std,
            "agreement": self.agreement(student_N1, teacher_N1),
        }

    def units(self, teacher_N1: Tensor, y_N: Tensor) -> tuple[float, float] | None:
        """A teacher may predict the target as it is or standardised; whichever is nearer to the labels is meant."""
        scale, shift = 1 / self.target.std, -self.target.mean / self.target.std
        value_N = teacher_N1[:, 0].double()
        as_given = (value_N - y_N).square().mean()
        in_own_units = (value_N * scale + shift - y_N).square().mean()
        return (scale, shift) if bool(in_own_units < as_given) else None

    def judge(self, teacher_N1: Tensor, y_N: Tensor, _declared: float | None, where: str = "validation") -> Verdict:
        """Weak where it is not surely better than always saying the mean: within two standard errors of the gain."""
        y_N = y_N.double()
        gain_N = (y_N.mean() - y_N).square() - (teacher_N1[:, 0].double() - y_N).square()
        r2 = _r2(teacher_N1[:, 0], y_N)
        figures = {"r2": r2, "chance": 0.0, "samples": len(y_N)}
        error = float(gain_N.std(correction=0)) / sqrt(len(y_N))
        if float(gain_N.mean()) > 2 * error:
            return Verdict(figures=figures)
        why = f"r2 is {r2:.3f} on {len(y_N)} {where} samples, where always saying the mean gives 0"
        return Verdict(why, figures)

    def suspicion(self, _epochs: list[Metrics]) -> str:
        """No fault is known by its figures."""
        return ""


def _r2(value_N: Tensor, y_N: Tensor) -> float:
    value_N, y_N = value_N.double(), y_N.double()
    spread = float((y_N - y_N.mean()).square().sum())
    return 1 - float((value_N - y_N).square().sum()) / spread if spread > 0 else 0.0

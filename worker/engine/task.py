"""What a task is to the engine: how samples become inputs, the label loss, the figures, and what a good teacher is.

`worker/tasks/<name>.py` holds a class of the same name in capitals (ImageClassification), built from the data set's
record and the job's training spec. Shapes: N samples, C classes or values.
"""

import importlib
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from models.canonical import DatasetMeta, TeacherMeta
from models.spec.training import Train
from worker.engine.augment import Augmentation
from worker.engine.normalise import View
from worker.engine.outputs import Batch

Metrics = dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """Whether a teacher is fit to teach. `why` is a sentence with the figures, empty where it is."""

    why: str = ""
    figures: dict[str, float] = field(default_factory=dict)


class Task(Protocol):
    """One task for one data set."""

    #: The figure of `agreement`, and the running one of training.
    agreement_name: str
    running_name: str

    def __init__(self, data: DatasetMeta, train: Train) -> None: ...

    def augmentation(self) -> Augmentation | None:
        """How training samples are changed each epoch; None where they are not."""

    def student_view(self, device: torch.device) -> View:
        """What the student sees of raw samples."""

    def teacher_view(self, teacher: TeacherMeta, device: torch.device) -> View:
        """What the teacher sees of raw samples."""

    def hard(self, logits_NC: Tensor, batch: Batch) -> Tensor:
        """The label loss of a batch: a scalar, the mean over samples that have a label, 0 where none has."""

    @property
    def knows_gradient(self) -> bool:
        """Whether `hard_gradient` and what is `of_each` sample may be asked: where each has one label, as it is."""

    def hard_of_each(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """The label loss of each sample (N,)."""

    def hard_gradient(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """That of the sum of `hard_of_each`, on the logits (N, C); nothing is recorded for a backward pass."""

    def running_of_each(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """What `running` is the mean of (N,)."""

    def running(self, logits_NC: Tensor, y_N: Tensor) -> Tensor:
        """A cheap figure for progress lines, averaged over the samples with a label, on the device."""

    def metrics(self, logits_NC: Tensor, y_N: Tensor) -> Metrics:
        """The figures of a whole split, all of it with labels."""

    def details(self, logits_NC: Tensor, y_N: Tensor) -> dict[str, object]:
        """Figures for the report alone, such as those of each class."""

    def rank(self, metrics: Metrics) -> tuple[float, ...]:
        """Larger is better; the first number is the one that early stopping watches."""

    def agreement(self, student_NC: Tensor, teacher_NC: Tensor) -> float:
        """How much the student says what the teacher says, over a whole split."""

    def units(self, teacher_NC: Tensor, y_N: Tensor) -> tuple[float, float] | None:
        """(scale, shift) that bring the teacher's values into standardised units; None where they are."""

    def likeness(self, student_NC: Tensor, teacher_NC: Tensor) -> Metrics:
        """The figures of a whole split without labels: how near the student is to the teacher. `rank` knows them."""

    def judge(self, teacher_NC: Tensor, y_N: Tensor, declared: float | None, where: str) -> Verdict:
        """Whether the teacher knows the task, by its outputs on the split that is called `where`."""

    def suspicion(self, epochs: list[Metrics]) -> str:
        """A sentence where the training figures of the last epochs show a known fault; empty where they do not."""


def make_task(data: DatasetMeta, train: Train) -> Task:
    """The task of a data set."""
    name = "".join(part.capitalize() for part in data.task.split("_"))
    task: Task = getattr(importlib.import_module(f"worker.tasks.{data.task}"), name)(data, train)
    return task

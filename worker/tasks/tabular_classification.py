"""One class for each row of a table."""

import torch

from models.canonical import TeacherMeta
from worker.engine import normalise
from worker.tasks._classification import Classification


class TabularClassification(Classification):
    """Raw samples are float32 (N, D), which student and teacher take as they are."""

    def augmentation(self) -> None:
        """Rows are never changed."""

    def student_view(self, _device: torch.device) -> normalise.View:
        """As it is."""
        return normalise.as_it_is

    def teacher_view(self, _teacher: TeacherMeta, _device: torch.device) -> normalise.View:
        """As it is."""
        return normalise.as_it_is

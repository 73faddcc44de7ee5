"""One class for each image."""

import torch

from models.canonical import TeacherMeta
from worker.engine import augment, normalise
from worker.tasks._classification import Classification


class ImageClassification(Classification):
    """Raw samples are uint8 (N, C, H, W)."""

    def augmentation(self) -> augment.Augmentation | None:
        """Crop and mirror, as the spec says."""
        return augment.from_spec(self.train, self.data.input_shape)

    def student_view(self, device: torch.device) -> normalise.View:
        """Standardised by the training split."""
        return normalise.student_view(self.data, device)

    def teacher_view(self, teacher: TeacherMeta, device: torch.device) -> normalise.View:
        """As the teacher's owner declared."""
        return normalise.TeacherView(teacher, self.data, device)

"""One class for each text."""

import torch

from core.errors import UserConfig
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.training import Train
from worker.engine import normalise
from worker.tasks._classification import Classification


class TextClassification(Classification):
    """Raw samples are token ids int32 (N, L), which student and teacher take as they are."""

    def __init__(self, data: DatasetMeta, train: Train) -> None:
        super().__init__(data, train)
        if train.mixup is not None:
            raise UserConfig.at("/train/mixup", "token ids cannot be mixed: leave mixup out", code="mixup_does_not_fit")
        if not isinstance(train.augment, str) and any(train.augment.model_dump().values()):
            raise UserConfig.at(
                "/train/augment",
                "texts are not changed in training: leave augment out",
                code="augment_does_not_fit",
            )

    def augmentation(self) -> None:
        """Texts are never changed."""

    def student_view(self, _device: torch.device) -> normalise.View:
        """As it is."""
        return normalise.as_it_is

    def teacher_view(self, _teacher: TeacherMeta, _device: torch.device) -> normalise.View:
        """As it is."""
        return normalise.as_it_is

"""The job spec: the body of `POST /jobs`."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator

from models.spec.base import Entry, Name, Weight
from models.spec.losses.menu import Loss
from models.spec.students import Architecture
from models.spec.teaching import Teacher
from models.spec.training import Train

Export = Literal["pth"]

#: What each export hands out, for the catalog.
EXPORTS: dict[Export, str] = {
    "pth": "student.pth: a plain state_dict that torch.load(weights_only=True) opens, with student.py beside it where "
    "the architecture is of this service.",
}


class Limits(Entry):
    """When to give up."""

    max_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400, description="Seconds of running, over all attempts.")
    max_attempts: int = Field(default=3, ge=1, le=20, description="Attempts, counted when one starts.")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_Losses = Annotated[list[Loss], Field(min_length=1, max_length=16)]
LossList = Annotated[_Losses, BeforeValidator(_as_list, json_schema_input_type=Loss | _Losses)]

_LABEL_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")


class Assistant(Entry):
    """A student between the teacher and the job's student: it is taught by what is before it and teaches what follows.

    Mirzadeh et al. 2020, arXiv:1902.03393: a chain helps where the teacher is far larger than the student.
    """

    student: Architecture
    loss: LossList | None = Field(default=None, description="Left out: the job's own.")
    hard: Weight | None = Field(default=None, description="Left out: as for the job, by its own losses.")
    train: Train | None = Field(default=None, description="Left out: the job's own.")


class JobSpec(Entry):
    """What to distil from what into what, and how. Only teacher, dataset, student and loss are required."""

    name: Name | None = None
    labels: dict[str, Annotated[str, Field(max_length=200)]] = Field(default={}, max_length=32)
    teacher: Teacher = Field(description='An id from POST /teachers, or who else teaches: {"type": "ensemble", ...}.')
    dataset: str = Field(pattern=r"^dst_[A-Za-z0-9]+$", max_length=64, description="An id from POST /datasets.")
    student: Architecture
    assistants: list[Assistant] = Field(
        default=[], max_length=4, description="Students between teacher and student, from the teacher on."
    )
    loss: LossList = Field(description="One term, or a list of weighted terms.")
    hard: Weight | None = Field(
        default=None,
        description="Weight of the ordinary label loss. Left out: 0.1 beside a response loss, 1.0 otherwise.",
    )
    train: Train = Train()
    export: list[Export] = Field(default=["pth"], min_length=1, max_length=8)
    limits: Limits = Limits()
    allow_weak_teacher: bool = Field(
        default=False, description="Train even where the teacher scores at or near chance on the validation split."
    )

    @field_validator("labels")
    @classmethod
    def _label_keys(cls, labels: dict[str, str]) -> dict[str, str]:
        for key in labels:
            if not _LABEL_KEY.match(key):
                raise ValueError(f"label key {key!r} must be 1 to 63 letters, digits, `_`, `.`, `/` or `-`")
        return labels

    def resolved(self) -> Self:
        """The same spec with nothing left to a default that may change later."""
        hard = self.hard if self.hard is not None else min(term.hard_beside for term in self.loss)
        return self.model_copy(update={"hard": hard})

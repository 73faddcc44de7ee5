"""The job spec: the body of `POST /jobs`."""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from models.spec.base import Entry, Name, Weight
from models.spec.losses.menu import Loss
from models.spec.precision import Arithmetic
from models.spec.students import Architecture
from models.spec.teaching import Regime, Teacher
from models.spec.training import Train

Export = Literal["pth"]

#: What each export hands out, for the catalog.
EXPORTS: dict[Export, str] = {
    "pth": "student.pth: a plain state_dict that torch.load(weights_only=True) opens, with student.py beside it where "
    "the architecture is of this service.",
}


Priority = Literal["low", "normal", "high"]
#: From the last to be served to the first; the database holds the place.
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class Limits(Entry):
    """When to give up."""

    max_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400, description="Seconds of running, over all attempts.")
    max_attempts: int = Field(default=3, ge=1, le=20, description="Attempts, counted when one starts.")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _can_listen(term: Loss, info: ValidationInfo) -> Loss:
    """Refuses a term of the job that cannot listen to who teaches."""
    teacher, assistants = info.data.get("teacher"), info.data.get("assistants") or []
    if teacher is not None and not assistants:
        _refuse(teacher.unheard(term))
    if teacher is not None and assistants:
        _refuse(Regime().unheard(term))  # the student is taught by a network
        if assistants[0].loss is None and (why := teacher.unheard(term)):
            raise ValueError(f"the first assistant would have this loss: {why}; or give that assistant a `loss`")
    return term


def _refuse(why: str) -> None:
    if why:
        raise ValueError(why)


def _refuse_mixtures(train: Train, guide: Regime, losses: list[Loss], whose: str = "") -> None:
    """Refuses `mixup` where the teacher or a term knows single samples alone."""
    if train.mixup is None:
        return
    labels = [term.type for term in losses if term.needs_labels]
    if labels:
        raise ValueError(
            f"{whose}with `mixup` a sample has two labels, and {', '.join(f'`{name}`' for name in labels)} reads one: "
            "leave `mixup` out, or take losses without labels, such as `kd`"
        )
    if why := guide.unfit_mixtures():
        raise ValueError(f"{whose}`mixup` trains on mixtures of two samples, and {why}: leave it out")


def _refuse_cache(train: Train, guide: Regime, losses: list[Loss], whose: str = "") -> None:
    """Refuses fixed views, and a cut to the largest outputs, where nothing can be kept so of what the teacher says."""
    why = "with `mixup` no sample is seen twice" if train.mixup is not None else guide.unfit_views()
    if train.views and why:
        raise ValueError(
            f"{whose}`teacher_cache` with `views` keeps what the teacher says of each view, and {why}: leave it out"
        )
    if not train.top_k:
        return
    why = why or guide.unfit_top_k()
    if not why and train.views is None and train.asks_for_changes:
        why = "`augment` shows each sample anew in every epoch, so that nothing is kept: name `views` as well"
    for term in losses:
        if not why and (reason := term.unfit_top_k(train.top_k)):
            why = f"`{term.type}` {reason}"
    if why:
        raise ValueError(f"{whose}`teacher_cache` with `top_k` keeps the largest of the teacher's outputs, and {why}")


_Losses = Annotated[list[Annotated[Loss, AfterValidator(_can_listen)]], Field(min_length=1, max_length=16)]
LossList = Annotated[_Losses, BeforeValidator(_as_list, json_schema_input_type=Loss | _Losses)]

_LABEL_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")


class Assistant(Entry):
    """A student between the teacher and the job's student: it is taught by what is before it and teaches what follows.

    Mirzadeh et al. 2020, arXiv:1902.03393: a chain helps where the teacher is far larger than the student.
    """

    student: Architecture
    loss: LossList | None = Field(default=None, description="Left out: the job's own.")
    hard: Weight | None = Field(
        default=None, description="Left out: the job's own; beside a `loss` of the assistant, what goes with that."
    )
    train: Train | None = Field(default=None, description="Left out: the job's own.")


class JobSpec(Entry):
    """What to distil from what into what, and how. Only teacher, dataset, student and loss are required."""

    name: Name | None = None
    labels: dict[str, Annotated[str, Field(max_length=200)]] = Field(
        default={}, max_length=32, json_schema_extra={"propertyNames": {"pattern": _LABEL_KEY.pattern}}
    )
    teacher: Teacher = Field(description='An id from POST /teachers, or who else teaches: {"type": "ensemble", ...}.')
    dataset: str = Field(pattern=r"^dst_[A-Za-z0-9]+$", max_length=64, description="An id from POST /datasets.")
    student: Architecture
    assistants: list[Assistant] = Field(
        default=[], max_length=4, description="Students between teacher and student, from the teacher on."
    )
    loss: LossList = Field(description="One term, or a list of weighted terms.")
    hard: Weight | None = Field(
        default=None,
        description="Weight of the ordinary label loss. Left out: 0.1 beside a response loss, 1.0 otherwise, and where "
        "the teacher itself learns while it teaches.",
    )
    train: Train = Field(default=Train(), validate_default=True)
    export: list[Export] = Field(default=["pth"], min_length=1, max_length=8)
    limits: Limits = Limits()
    priority: Priority = Field(
        default="normal", description="Who is served first when devices are scarce; it changes nothing of the result."
    )
    arithmetic: dict[str, Arithmetic] = Field(
        default={},
        max_length=64,
        description="How each network computes where `train.precision` is `auto`, by name: `student`, `control`, "
        "`assistant_1`, and teachers by id. The first attempt fills it in, so that the next ones, and a retry, compute "
        "alike.",
    )
    allow_weak_teacher: bool = Field(
        default=False, description="Train even where the teacher scores at or near chance on the validation split."
    )

    @field_validator("student")
    @classmethod
    def _student_can_be_taught(cls, student: Architecture, info: ValidationInfo) -> Architecture:
        if teacher := info.data.get("teacher"):
            _refuse(teacher.unfit_student(student))
        return student

    @field_validator("assistants")
    @classmethod
    def _assistants_have_a_teacher(cls, assistants: list[Assistant], info: ValidationInfo) -> list[Assistant]:
        teacher = info.data.get("teacher")
        if not assistants or teacher is None:
            return assistants
        if not teacher.handed_in:
            raise ValueError(
                "assistants stand between a teacher that was handed in and the student; this job's students teach each "
                "other: leave them out, or name a teacher from POST /teachers"
            )
        for at, assistant in enumerate(assistants):
            heard = Regime() if at else teacher
            for number, term in enumerate(assistant.loss or []):
                if why := heard.unheard(term):
                    raise ValueError(f"loss {number} of assistant {at + 1}: {why}")
        return assistants

    @field_validator("hard")
    @classmethod
    def _somebody_knows_the_labels(cls, hard: float | None, info: ValidationInfo) -> float | None:
        teacher = info.data.get("teacher")
        if teacher is not None and teacher.moving and hard == 0:
            raise ValueError("with 0, nobody in this job would learn from the labels: raise it, or leave it out")
        return hard

    @field_validator("train")
    @classmethod
    def _train_is_long_enough(cls, train: Train, info: ValidationInfo) -> Train:
        if teacher := info.data.get("teacher"):
            _refuse(teacher.unfit_length(train.epochs))
        return train

    @field_validator("train")
    @classmethod
    def _mixtures_can_be_taught(cls, train: Train, info: ValidationInfo) -> Train:
        if "teacher" not in info.data or "loss" not in info.data:
            return train
        guides, losses = [info.data["teacher"]], info.data["loss"]
        for at, assistant in enumerate(info.data.get("assistants") or []):
            own = f"assistant {at + 1}: " if assistant.train else ""
            _refuse_mixtures(assistant.train or train, guides[-1], assistant.loss or losses, own)
            guides.append(Regime())  # what follows is taught by a network
        _refuse_mixtures(train, guides[-1], losses)
        return train

    @field_validator("train")
    @classmethod
    def _answers_can_be_kept(cls, train: Train, info: ValidationInfo) -> Train:
        if "teacher" not in info.data:
            return train
        guide: Regime = info.data["teacher"]
        losses: list[Loss] = info.data.get("loss") or []
        for at, assistant in enumerate(info.data.get("assistants") or []):
            own = f"assistant {at + 1}: " if assistant.train or assistant.loss else ""
            _refuse_cache(assistant.train or train, guide, assistant.loss or losses, own)
            guide = Regime()  # what follows is taught by a network
        _refuse_cache(train, guide, losses)
        return train

    @field_validator("labels")
    @classmethod
    def _label_keys(cls, labels: dict[str, str]) -> dict[str, str]:
        for key in labels:
            if not _LABEL_KEY.match(key):
                raise ValueError(f"label key {key!r} must be 1 to 63 letters, digits, `_`, `.`, `/` or `-`")
        return labels

    def resolved(self) -> Self:
        """The same spec with nothing left to a default that may change later."""
        hard = self.hard
        if hard is None:
            # A teacher that learns with the student knows nothing at first: what both know comes from the labels.
            hard = 1.0 if self.teacher.moving else _hard_beside(self.loss)
        assistants = [self._resolved(assistant, hard) for assistant in self.assistants]
        return self.model_copy(update={"hard": hard, "assistants": assistants})

    def _resolved(self, assistant: Assistant, hard: float) -> Assistant:
        """What an assistant leaves out is the job's, but for the weight of the label loss beside its own losses."""
        if assistant.hard is not None:
            hard = assistant.hard
        elif assistant.loss is not None:
            hard = _hard_beside(assistant.loss)
        own = {"loss": assistant.loss or self.loss, "hard": hard, "train": assistant.train or self.train}
        return assistant.model_copy(update=own)


def _hard_beside(losses: list[Loss]) -> float:
    """The weight of the label loss where none is named."""
    return min(term.hard_beside for term in losses)

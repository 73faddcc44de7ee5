"""Who teaches in a job: the regimes of distillation.

A stored teacher, a list of them, given outputs, or the student itself: an earlier generation, an earlier stage, its
running average, its own deep layers; or other students that learn beside it.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from models.spec.base import Documented, Name
from models.spec.losses.term import LossTerm
from models.spec.students import Architecture, Student

TeacherId = Annotated[str, Field(pattern=r"^tch_[A-Za-z0-9]+$", max_length=64)]
DatasetId = Annotated[str, Field(pattern=r"^dst_[A-Za-z0-9]+$", max_length=64)]

#: Class of the data set: class of the teacher. Or `same` places, or `by_name`.
ClassMap = Annotated[
    Literal["same", "by_name"] | Annotated[dict[Name, Name], Field(min_length=2, max_length=100_000)],
    Field(
        description="Which output of the teacher stands for which class of the data set. `same`: place by place. "
        "`by_name`: the classes that both have, at least two. Or {data set's class: teacher's class}. Losses that "
        "compare outputs then see these classes alone; the hard loss sees all."
    ),
]


class Regime(Documented):
    """What all ways of teaching share."""

    #: True where the teacher changes while the student trains, so that it is asked anew for every batch.
    moving: ClassVar[bool] = False
    #: True where all that teaches was handed in, so that assistants may stand between it and the student.
    handed_in: ClassVar[bool] = False
    #: Why there is nothing but outputs to listen to; empty where there are features and the embedding as well.
    outputs_alone: ClassVar[str] = ""

    def unheard(self, term: LossTerm) -> str:
        """Why the term cannot listen to this teacher, and what to do about it; empty where it can."""
        if term.teacher is not None:
            return "`teacher` picks one out of an ensemble, and this job's teacher is none: leave it out"
        if (term.needs_taps or term.needs_embedding) and self.outputs_alone:
            return f"it reads features or embeddings, and {self.outputs_alone}: take a loss on outputs, such as `kd`"
        return ""

    def unfit_student(self, _student: Student) -> str:
        """Why a student of this architecture cannot be taught so; empty where it can, or where that is not known."""
        return ""

    def unfit_length(self, _epochs: int) -> str:
        """Why a training of so many epochs makes no sense; empty where it does."""
        return ""

    def unfit_mixtures(self) -> str:
        """Why it cannot teach mixtures of samples; empty where it can."""
        return ""

    def unfit_views(self) -> str:
        """Why what it says of fixed views of samples cannot be kept; empty where it can."""
        return "the teacher learns with the student, so it never says the same again" if self.moving else ""

    def unfit_top_k(self) -> str:
        """Why its largest outputs alone cannot be kept, where all can, and what to do; empty where they can."""
        return ""

    def teacher_ids(self) -> list[str]:
        """Stored teachers that the job reads, each once."""
        return []

    def output_ids(self) -> list[str]:
        """Data sets of given outputs that the job reads, each once."""
        return []


class StoredTeacher(Regime):
    """A teacher that was uploaded. A plain id is short for this."""

    type: Literal["stored"] = "stored"
    id: TeacherId = Field(description="The id from POST /teachers.")
    classes: ClassMap = "same"

    handed_in = True
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531"
    use_when = "You have one trained teacher. With a class map, also where it knows other classes than the data set."

    def unfit_top_k(self) -> str:
        """What is left out of a map would weigh among the rest."""
        if self.classes == "same":
            return ""
        return "a class map picks some of them, whose largest are others: leave `top_k` out, or the map"

    def teacher_ids(self) -> list[str]:
        """Itself."""
        return [self.id]


class GivenOutputs(Regime):
    """Outputs that a teacher gave somewhere else, row by row, for all of the training rows or for a part of them.

    Rows without outputs are trained by the label loss alone.
    """

    type: Literal["outputs"] = "outputs"
    dataset: DatasetId = Field(
        description="A data set of task `teacher_outputs`: logits (N, C) and the rows they are of."
    )
    classes: ClassMap = "same"

    handed_in = True
    outputs_alone = "given outputs are all that there is of this teacher"
    use_when = "The teacher cannot be handed in: it is a service, too large, or of a make that ONNX does not hold."

    def unfit_mixtures(self) -> str:
        """Its outputs are of rows."""
        return "outputs that were given for single rows say nothing of mixtures"

    def unfit_views(self) -> str:
        """They are the same for each view."""
        return "outputs that were given are of the samples as they are"

    def output_ids(self) -> list[str]:
        """Its data set."""
        return [self.dataset]


def _short_form(value: Any) -> Any:
    return {"type": "stored", "id": value} if isinstance(value, str) else value


def _only_form(value: Any) -> Any:
    """As `_short_form` where there is no other form: pydantic would not ask for the `type`, as the JSON Schema does."""
    if isinstance(value, dict) and "type" not in value:
        raise ValueError("`type` is missing; it is `stored`")
    return _short_form(value)


Member = Annotated[StoredTeacher | GivenOutputs, Field(discriminator="type")]
_Member = Annotated[Member, BeforeValidator(_short_form, json_schema_input_type=TeacherId | Member)]
MemberWeight = Annotated[float, Field(gt=0, le=1e6)]


class Ensemble(Regime):
    """Several teachers at once, of any architectures and forms.

    A loss term that names its `teacher` listens to that one; the others hear the combination of all logits. Features
    and embeddings are not combined: terms that read them must name their teacher.
    """

    type: Literal["ensemble"] = "ensemble"
    teachers: list[_Member] = Field(min_length=2, max_length=8)
    combine: Literal["mean", "weights", "cross_entropy", "entropy"] = Field(
        default="mean",
        description="`mean` of the logits; by fixed `weights`; or sample by sample: more weight for the teacher whose "
        "`cross_entropy` with the label, or whose `entropy`, is lower. Figures of the report never use labels: there "
        "`cross_entropy` is the mean.",
    )
    weights: list[MemberWeight] | None = Field(default=None, description="One for each teacher; they are normalised.")

    handed_in = True
    formula = (
        "z_t = sum_k w_k z_k; by cross_entropy w_k = (1 - exp(CE_k) / sum_j exp(CE_j)) / (K - 1), by entropy with H_k"
    )
    paper = "You et al. 2017 (mean); Zhang, Chen, Wang 2022, CA-MKD, arXiv:2201.00007 (by cross-entropy)"
    use_when = "Teachers that err differently; or one teacher for outputs and another for features."

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if (self.combine == "weights") != (self.weights is not None):
            raise ValueError("`weights` goes with combine `weights`, and only with it")
        if self.weights is not None and len(self.weights) != len(self.teachers):
            raise ValueError(f"{len(self.teachers)} teachers need as many weights, got {len(self.weights)}")
        names = [key_of(member) for member in self.teachers]
        if len(set(names)) != len(names):
            raise ValueError("each teacher may be listed once; give it a larger weight instead")
        return self

    def unheard(self, term: LossTerm) -> str:
        """A term may name a member; one that reads features has to."""
        members = {key_of(member): member for member in self.teachers}
        if term.teacher is not None and term.teacher not in members:
            return f"`teacher` names none of the ensemble, which is {', '.join(members)}"
        if term.teacher is not None:
            return members[term.teacher].unheard(term.model_copy(update={"teacher": None}))
        if term.needs_taps or term.needs_embedding:
            return f"it reads features or embeddings, so it must name its `teacher`: {' or '.join(members)}"
        return ""

    def unfit_mixtures(self) -> str:
        """Where a member cannot, or where teachers are weighed by the one label of a sample."""
        if self.combine == "cross_entropy":
            return "teachers are weighed by their cross-entropy with one label (combine by `entropy` instead)"
        return next(filter(None, (member.unfit_mixtures() for member in self.teachers)), "")

    def unfit_views(self) -> str:
        """Where a member cannot."""
        return next(filter(None, (member.unfit_views() for member in self.teachers)), "")

    def unfit_top_k(self) -> str:
        """A mean of logits needs all of them."""
        return "each teacher's largest may be another's rest, so they cannot be combined: leave `top_k` out"

    def teacher_ids(self) -> list[str]:
        """Of its members."""
        return [name for member in self.teachers for name in member.teacher_ids()]

    def output_ids(self) -> list[str]:
        """Of its members."""
        return [name for member in self.teachers for name in member.output_ids()]


class BornAgain(Regime):
    """Generations: the student of each round teaches the next, which starts anew. The last is the job's student.

    The first is taught by `teacher`. Where none is given it learns from labels alone, and is the job's control.
    """

    type: Literal["born_again"] = "born_again"
    generations: int = Field(default=2, ge=1, le=10, description="Students in a row, all of one architecture.")
    teacher: (
        Annotated[StoredTeacher, BeforeValidator(_only_form, json_schema_input_type=TeacherId | StoredTeacher)] | None
    ) = None

    paper = "Furlanello et al. 2018, arXiv:1805.04770"
    use_when = "No larger teacher is to be had and the student should be better than by labels alone."

    @model_validator(mode="after")
    def _somebody_teaches(self) -> Self:
        if self.generations == 1 and self.teacher is None:
            raise ValueError(
                "one generation without a teacher is taught by nobody: ask for 2 or more, or name a `teacher`"
            )
        return self

    def unfit_top_k(self) -> str:
        """As the first teacher."""
        return self.teacher.unfit_top_k() if self.teacher else ""

    def teacher_ids(self) -> list[str]:
        """The first generation's teacher."""
        return self.teacher.teacher_ids() if self.teacher else []


class Snapshot(Regime):
    """The student as it was at the last of every `every` epochs teaches it.

    The first `every` epochs are by labels alone, as those of the control.
    """

    type: Literal["snapshot"] = "snapshot"
    every: int = Field(default=5, ge=1, le=10_000, description="Epochs between two snapshots.")

    paper = "Yang et al. 2019, Snapshot Distillation, arXiv:1812.00123"
    use_when = "Self-distillation within one training run."
    moving = True

    def unfit_length(self, epochs: int) -> str:
        """There must be epochs left after the first snapshot."""
        if self.every < epochs:
            return ""
        return (
            f"the first snapshot would be taken after epoch {self.every} of {epochs}, and teach nobody: make "
            "`teacher.every` smaller than `train.epochs`"
        )


class MovingAverage(Regime):
    """A running average of the student's weights teaches it."""

    type: Literal["ema"] = "ema"
    decay: float = Field(default=0.999, gt=0, lt=1, description="Of the average, by step; it ramps up from the start.")

    paper = "Tarvainen, Valpola 2017, Mean Teacher, arXiv:1703.01780"
    use_when = "Self-distillation with a teacher that is always a little ahead; with few labels."
    moving = True


class Peers(Regime):
    """Mutual learning: the student and its peers train together, each taught by the others, detached from them.

    All see the same batches, by the job's `train`; the student says when to stop early.
    """

    type: Literal["peers"] = "peers"
    students: list[Architecture] = Field(min_length=1, max_length=4, description="The peers beside the student.")

    formula = "L_i = hard_i + mean over j of term(i, stop_gradient(j))"
    paper = "Zhang et al. 2018, Deep Mutual Learning, arXiv:1706.00384"
    use_when = "No teacher, and memory for several students at once."
    moving = True


class Branches(Regime):
    """The student's last layers teach its earlier stages through exits that are trained beside it and then dropped."""

    type: Literal["branches"] = "branches"

    formula = "sum over exits e of hard(e) + terms(e, stop_gradient(student))"
    paper = "Zhang et al. 2019, Be Your Own Teacher, arXiv:1905.08094"
    use_when = "Self-distillation of a network with several stages; costs little more than the plain training."
    moving = True
    outputs_alone = "an exit gives outputs alone"

    def unfit_student(self, student: Student) -> str:
        """There must be a stage before the last."""
        stages = student.stage_names()
        if stages is None or len(stages) > 1:
            return ""
        return (
            f"exits are put on all stages but the last, and this network has {len(stages) or 'no'} stage: take one "
            "with two or more"
        )


AnyTeacher = Annotated[
    StoredTeacher | Ensemble | GivenOutputs | BornAgain | Snapshot | MovingAverage | Peers | Branches,
    Field(discriminator="type"),
]
Teacher = Annotated[AnyTeacher, BeforeValidator(_short_form, json_schema_input_type=TeacherId | AnyTeacher)]


def key_of(member: StoredTeacher | GivenOutputs) -> str:
    """The id by which a loss term names the member."""
    return member.id if isinstance(member, StoredTeacher) else member.dataset

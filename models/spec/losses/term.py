"""What every loss term on the menu says of itself. The terms are in response.py, feature.py and relation.py.

`{"type": "kd"}` on the menu is `worker/losses/kd.py`, with a class of the same name.

Notation: z are logits, p^T = softmax(z / T), s is the student and t the teacher, B the batch, C the classes, F a
feature map, e the embedding before the last linear layer. A term's value is multiplied by its `weight`; `hard` in the
job is the weight of the ordinary label loss.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from models.spec.base import Documented, Entry, ModulePath, Weight
from models.spec.data import TaskName

CLASSIFICATION: frozenset[TaskName] = frozenset(
    {"image_classification", "audio_classification", "text_classification", "tabular_classification"}
)
REGRESSION: frozenset[TaskName] = frozenset({"tabular_regression"})
EVERY_TASK: frozenset[TaskName] = CLASSIFICATION | REGRESSION


MemberId = Annotated[str, Field(pattern=r"^(tch|dst)_[A-Za-z0-9]+$", max_length=64)]


class TapPair(Entry):
    """One feature point of the student and the teacher's that it should match."""

    student: ModulePath = Field(description="Module path in the student, as `named_modules()` spells it.")
    teacher: ModulePath = Field(description="Module path in the teacher, or a tensor name of an ONNX graph.")


Taps = Annotated[
    Literal["auto"] | Annotated[list[TapPair], Field(min_length=1, max_length=16)],
    Field(
        description="Feature points. `auto` pairs stages of the student and the teacher by depth and resolution. Where "
        "tokens of a transformer meet a map, or another number of tokens, they become a map, the class token left out."
    ),
]


class LossTerm(Documented):
    """What all terms share."""

    weight: Weight = 1.0
    teacher: MemberId | None = Field(
        default=None, description="Of an ensemble: the id of the teacher that this term listens to. Left out: all."
    )

    tasks: ClassVar[frozenset[TaskName]] = CLASSIFICATION
    #: The weight of the label loss that goes well with this term when the job names none.
    hard_beside: ClassVar[float] = 1.0
    #: True where the term reads intermediate features, so that taps must exist.
    needs_taps: ClassVar[bool] = False
    #: True where the term reads what goes into the last linear layer, so that the network must say what that is.
    needs_embedding: ClassVar[bool] = False
    #: True where the term compares outputs one by one, so that the teacher must have those of the data set.
    same_outputs: ClassVar[bool] = False
    #: True where the term reads the data set's labels.
    needs_labels: ClassVar[bool] = False
    #: True where all that it takes from the teacher is a distribution at its `T`, or the order of the largest outputs.
    takes_top_k: ClassVar[bool] = False

    def least_classes(self) -> int:
        """With how many classes this term, as it is set, begins to say something."""
        return 1

    def unfit_top_k(self, k: int) -> str:
        """Why the teacher's k largest outputs and the mass of the rest are not enough, and what to do; empty else."""
        if self.takes_top_k and (own := getattr(self, "top_k", None) or 0) > k:
            return f"reads the {own} largest by its own `top_k`: keep as many, or set that to {k} or less"
        if self.takes_top_k or self.needs_taps or self.needs_embedding:
            return ""
        return "reads every single one: leave `top_k` out, or take a loss that compares distributions, such as `kd`"

    def most_rows(self) -> int | None:
        """How many training rows this term, as it is set, has memory for; None where it remembers none."""
        return None


def temperature(default: float) -> Any:
    """The field `T`, which may be spelled `temperature`."""
    return Field(
        default=default,
        validation_alias=AliasChoices("T", "temperature"),
        description="Temperature: logits are divided by it. Higher is softer.",
    )

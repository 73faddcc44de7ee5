"""The menu of losses. `{"type": "kd"}` here is `worker/losses/kd.py` there, with a class of the same name.

Notation: z are logits, p^T = softmax(z / T), s is the student and t the teacher, B the batch, C the classes.
A term's value is multiplied by its `weight`; `hard` in the job is the weight of the ordinary label loss.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from models.spec.base import Documented, Entry, ModulePath, Temperature, Weight
from models.spec.data import TaskName

CLASSIFICATION: frozenset[TaskName] = frozenset({"image_classification", "tabular_classification"})
EVERY_TASK: frozenset[TaskName] = CLASSIFICATION | {"tabular_regression"}


class TapPair(Entry):
    """One feature point of the student and the teacher's that it should match."""

    student: ModulePath = Field(description="Module path in the student, as `named_modules()` spells it.")
    teacher: ModulePath = Field(description="Module path in the teacher, or a tensor name of an ONNX graph.")


Taps = Annotated[
    Literal["auto"] | Annotated[list[TapPair], Field(min_length=1, max_length=16)],
    Field(description="Feature points. `auto` pairs stages of the student and the teacher by depth and resolution."),
]


class LossTerm(Documented):
    """What all terms share."""

    weight: Weight = 1.0

    tasks: ClassVar[frozenset[TaskName]] = CLASSIFICATION
    #: The weight of the label loss that goes well with this term when the job names none.
    hard_beside: ClassVar[float] = 1.0
    #: True where the term reads intermediate features, so that taps must exist.
    needs_taps: ClassVar[bool] = False
    #: True where the term reads what goes into the last linear layer, so that the network must say what that is.
    needs_embedding: ClassVar[bool] = False
    #: True where the term compares outputs one by one, so that the teacher must have those of the data set.
    same_outputs: ClassVar[bool] = False


def _temperature(default: float) -> Any:
    return Field(
        default=default,
        validation_alias=AliasChoices("T", "temperature"),
        description="Temperature: logits are divided by it. Higher is softer.",
    )


class SoftCrossEntropy(LossTerm):
    """Cross-entropy between temperature-softened distributions. Its minimum is T^2 times the teacher's entropy."""

    type: Literal["soft_cross_entropy"] = "soft_cross_entropy"
    T: Temperature = _temperature(4.0)
    weight: Weight = 0.9

    formula = "T^2 * mean_B( - sum_C p_t^T * log p_s^T )"
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2"
    use_when = "You want the form of the original paper; its gradient is the same as that of kd."
    hard_beside = 0.1
    same_outputs = True


class KD(LossTerm):
    """Kullback-Leibler divergence between temperature-softened distributions, times T^2."""

    type: Literal["kd"] = "kd"
    T: Temperature = _temperature(4.0)
    weight: Weight = 0.9

    formula = "T^2 * mean_B( sum_C p_t^T * (log p_t^T - log p_s^T) )"
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531"
    use_when = "The first thing to try for any classifier whose teacher has the same classes."
    hard_beside = 0.1
    same_outputs = True


class LogitsMSE(LossTerm):
    """Mean squared difference of logits; of predicted values where the task is a regression."""

    type: Literal["logits_mse"] = "logits_mse"

    formula = "mean_B( mean_C( (z_s - z_t)^2 ) )"
    paper = "Ba, Caruana 2014, arXiv:1312.6184"
    use_when = "Regression, or a teacher whose logits are well calibrated and should be copied whole."
    tasks = EVERY_TASK
    hard_beside = 0.1
    same_outputs = True


class Hint(LossTerm):
    """Mean squared error between the teacher's features and the student's, through a learned projector."""

    type: Literal["hint"] = "hint"
    taps: Taps = "auto"

    formula = "mean over taps of mean( (r(F_s) - F_t)^2 ), r a learned 1x1 convolution (maps) or linear layer (vectors)"
    paper = "Romero et al. 2015, FitNets, arXiv:1412.6550, equation 3"
    use_when = "Teacher and student are of one family; across families compare with the student trained alone."
    tasks = EVERY_TASK
    needs_taps = True


class Similarity(LossTerm):
    """Mean squared difference of the pairwise cosine similarities of a batch."""

    type: Literal["similarity"] = "similarity"

    formula = "mean_{i != j}( (cos(e_s^i, e_s^j) - cos(e_t^i, e_t^j))^2 ), e the embedding before the classifier"
    paper = "In the form of Passalis, Tefas 2018, arXiv:1803.10837 (cosine kernel), compared by squared error"
    use_when = "Teacher and student differ in width or classes: only relations between samples are matched."
    tasks = EVERY_TASK
    needs_embedding = True


class Distance(LossTerm):
    """Mean squared difference of the pairwise distances of a batch, each divided by its mean."""

    type: Literal["distance"] = "distance"

    formula = "mean_{i != j}( (d_s^ij / mean(d_s) - d_t^ij / mean(d_t))^2 ), d^ij = ||e^i - e^j||_2"
    paper = "Park et al. 2019, RKD, arXiv:1904.05068, equation 4 (mu-normalised distance), with squared error"
    use_when = "As similarity, where lengths carry meaning as well as directions."
    tasks = EVERY_TASK
    needs_embedding = True


Loss = Annotated[
    SoftCrossEntropy | KD | LogitsMSE | Hint | Similarity | Distance,
    Field(discriminator="type"),
]

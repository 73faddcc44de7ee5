"""Losses on responses: what the last layer says."""

from typing import Literal, Self

from pydantic import Field, model_validator

from models.spec.base import Temperature, Weight
from models.spec.losses.term import EVERY_TASK, REGRESSION, LossTerm, temperature


class SoftCrossEntropy(LossTerm):
    """Cross-entropy between temperature-softened distributions. Its minimum is T^2 times the teacher's entropy."""

    type: Literal["soft_cross_entropy"] = "soft_cross_entropy"
    T: Temperature = temperature(4.0)
    weight: Weight = 0.9

    formula = "T^2 * mean_B( - sum_C p_t^T * log p_s^T )"
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2; 0.9 beside 0.1 for labels is usual for kd"
    use_when = "You want the form of the original paper; its gradient is the same as that of kd."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True


class KD(LossTerm):
    """Kullback-Leibler divergence between temperature-softened distributions, times T^2."""

    type: Literal["kd"] = "kd"
    T: Temperature = temperature(4.0)
    weight: Weight = 0.9
    standardize: bool = Field(
        default=False,
        description=(
            "Shift and scale each sample's logits to mean 0 and standard deviation 1 first (logit standardisation, "
            "Sun et al. 2024, arXiv:2403.01427). The authors take T = 2 and a weight of 9, ten times that of plain kd. "
            "Needs three classes or more."
        ),
    )

    formula = "T^2 * mean_B( sum_C p_t^T * (log p_t^T - log p_s^T) )"
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531; 0.9 beside 0.1 for labels is usual, and T = 4"
    use_when = "The first thing to try for any classifier whose teacher has the same classes."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True

    def least_classes(self) -> int:
        """Three where logits are standardised: two would always become -1 and 1."""
        return 3 if self.standardize else 1

    def unfit_top_k(self, k: int) -> str:
        """Not where the spread of all logits is taken."""
        return (
            "with `standardize` reads every single one: leave either out"
            if self.standardize
            else super().unfit_top_k(k)
        )


class LogitsMSE(LossTerm):
    """Mean squared difference of logits; of predicted values where the task is a regression."""

    type: Literal["logits_mse"] = "logits_mse"

    formula = "mean_B( mean_C( (z_s - z_t)^2 ) )"
    paper = "Ba, Caruana 2014, arXiv:1312.6184"
    use_when = "Regression, or a teacher whose logits are well calibrated and should be copied whole."
    tasks = EVERY_TASK
    hard_beside = 0.1
    same_outputs = True


class DKD(LossTerm):
    """KL divergence in two parts, each with its weight: the target class against the rest, and within the rest."""

    type: Literal["dkd"] = "dkd"
    T: Temperature = temperature(4.0)
    alpha: Weight = Field(default=1.0, description="Weight of the target class against the rest.")
    beta: Weight = Field(
        default=8.0,
        description="Weight within the rest. The authors took 2 to 8 on CIFAR-100, 0.5 to 2 with T = 1 on ImageNet.",
    )

    formula = "T^2 * mean_B( alpha * KL((p_y, 1-p_y)_t || (p_y, 1-p_y)_s) + beta * KL(q_t || q_s) ), q = p without y"
    paper = "Zhao et al. 2022, arXiv:2203.08679, equation 7"
    use_when = "Three classes or more, and a teacher so sure that kd says little of the wrong classes."
    same_outputs = True
    needs_labels = True

    def least_classes(self) -> int:
        """Three: without the target, one of two classes is left, and its share is always 1."""
        return 3


class NKD(LossTerm):
    """The target class as the teacher weighs it, and the other classes as a distribution of their own."""

    type: Literal["nkd"] = "nkd"
    T: Temperature = temperature(1.0)
    gamma: Weight = Field(default=1.5, description="Weight of the classes that are not the target.")

    formula = (
        "mean_B( -p_t[y] * log p_s[y] - gamma * T^2 * sum_{i != y} n_t * log n_s ), n = p^T without y, scaled to 1"
    )
    paper = "Yang et al. 2023, arXiv:2303.13005, section 3"
    use_when = "As dkd, with fewer weights to find; three classes or more. Its value does not fall to 0."
    same_outputs = True
    needs_labels = True

    def least_classes(self) -> int:
        """Three: without the target, one of two classes is left, and its share is always 1."""
        return 3


class DIST(LossTerm):
    """One minus Pearson's correlation of probabilities, over the classes of a sample and the samples of a class."""

    type: Literal["dist"] = "dist"
    T: Temperature = temperature(1.0)
    beta: Weight = Field(default=2.0, description="Weight of the correlation over the classes of each sample.")
    gamma: Weight = Field(default=2.0, description="Weight of the correlation over the samples, for each class.")

    formula = "beta * mean_B( 1 - r(p_s^T[b,:], p_t^T[b,:]) ) + gamma * mean_C( 1 - r(p_s^T[:,c], p_t^T[:,c]) )"
    paper = "Huang et al. 2022, arXiv:2205.10536"
    use_when = "A strong teacher, far above the student, and batches of some 32 samples or more."
    same_outputs = True


class TTM(LossTerm):
    """KL divergence from the softened teacher to the student as it is, without a temperature of its own."""

    type: Literal["ttm"] = "ttm"
    T: Temperature = temperature(5.0)
    weight: Weight = 10.0

    formula = "mean_B( sum_C p_t^T * (log p_t^T - log p_s) ), p_s = softmax(z_s)"
    paper = "Zheng, Yang 2024, arXiv:2402.11148, section 3, with T = 1 / gamma"
    use_when = "As kd. The authors took T = 5 to 10 and weights up to 45 on CIFAR-100; 10 is for fewer classes."
    same_outputs = True
    takes_top_k = True


class WTTM(LossTerm):
    """As ttm, each sample by the sum of the teacher's powers: the less sure the teacher, the more."""

    type: Literal["wttm"] = "wttm"
    T: Temperature = temperature(5.0)
    weight: Weight = 4.0

    formula = "mean_B( U * sum_C p_t^T * (log p_t^T - log p_s) ), U = sum_C p_t^(1/T), p_s = softmax(z_s)"
    paper = "Zheng, Yang 2024, arXiv:2402.11148, section 4, with T = 1 / gamma"
    use_when = (
        "As ttm, where the teacher's doubtful samples matter most. U grows with the classes: 4 suits some hundred."
    )
    same_outputs = True


class HardKD(LossTerm):
    """Cross-entropy with the class that the teacher finds most likely."""

    type: Literal["hard_kd"] = "hard_kd"
    weight: Weight = 0.5

    formula = "mean_B( -log p_s[argmax z_t] )"
    paper = (
        "Touvron et al. 2021, DeiT, arXiv:2012.12877, equation 3: 0.5 for either label, without the distillation token"
    )
    use_when = "Strong augmentation: the teacher says what the changed image shows, where its label may not."
    hard_beside = 0.5
    same_outputs = True
    takes_top_k = True


class WSLD(LossTerm):
    """Soft cross-entropy, each sample by how much worse than the teacher's the student's own label loss is."""

    type: Literal["wsld"] = "wsld"
    T: Temperature = temperature(2.0)
    weight: Weight = 2.5

    formula = "T^2 * mean_B( (1 - exp(-CE_s / CE_t)) * CE(p_t^T, p_s^T) ), CE with the label at T = 1, without gradient"
    paper = "Zhou et al. 2021, arXiv:2102.00650, equation 8; T = 2 and the weight of 2.5 are the paper's"
    use_when = "kd makes the student worse on samples that it already knows. Its value does not fall to 0."
    same_outputs = True
    needs_labels = True


class CTKD(LossTerm):
    """As kd, with a temperature that is learned against the student: the lesson grows harder as it learns."""

    type: Literal["ctkd"] = "ctkd"
    weight: Weight = 0.9
    T_start: Temperature = Field(default=4.0, description="Temperature at the start, between the bounds.")
    T_min: Temperature = Field(default=1.0, description="Lower bound of the temperature.")
    T_max: Temperature = Field(default=21.0, description="Upper bound of the temperature.")
    ramp: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the run over which the temperature is set free, along half a cosine.",
    )

    formula = "T^2 * mean_B( KL(p_t^T || p_s^T) ), T = T_min + (T_max - T_min) * sigmoid(theta), theta up the gradient"
    paper = "Li et al. 2023, arXiv:2211.16231, the global temperature; 0.9 beside 0.1 for labels as for kd"
    use_when = "As kd, where no temperature is known to be good and runs to find one are dear."
    hard_beside = 0.1
    same_outputs = True

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.T_min < self.T_start < self.T_max:
            raise ValueError("T_start must lie between T_min and T_max")
        return self


class MLKD(LossTerm):
    """As kd at several temperatures, and how samples and how classes agree within a batch."""

    type: Literal["mlkd"] = "mlkd"
    temperatures: tuple[Temperature, ...] = Field(
        default=(2.0, 3.0, 4.0, 5.0, 6.0), min_length=1, max_length=10, description="The mean is taken over these."
    )
    samples: Weight = Field(default=1.0, description="Weight of how samples agree.")
    classes: Weight = Field(default=1.0, description="Weight of how classes agree.")

    formula = (
        "mean_T( T^2 * KL + samples * 64 * mean_BB( (p_s p_s^T - p_t p_t^T)^2 ) "
        "+ classes * 64^2/C * sum_CC( (p_s^T p_s / B - p_t^T p_t / B)^2 ) )"
    )
    paper = "Jin et al. 2023, Multi-level logit distillation, CVPR, without its second view of each image"
    use_when = "As kd, for long runs with strong augmentation; the authors' took twice the usual epochs."
    hard_beside = 0.1
    same_outputs = True


class LabelSmoothingTeacher(LossTerm):
    """KL divergence from a distribution made of the label alone, softened: distillation without a teacher."""

    type: Literal["label_smoothing_teacher"] = "label_smoothing_teacher"
    T: Temperature = temperature(20.0)
    weight: Weight = 0.1
    confidence: float = Field(default=0.99, gt=0, lt=1, description="Share of the label in the made distribution.")

    formula = "T^2 * mean_B( KL(p_d^T || p_s^T) ), p_d = confidence at y, (1 - confidence) / (C - 1) elsewhere"
    paper = (
        "Yuan et al. 2020, Tf-KD, arXiv:1909.11723, section 4.2; T = 20 and 0.1 beside 0.9 for labels are its code's"
    )
    use_when = "As a control: what softened labels do without what a teacher knows."
    hard_beside = 0.9
    needs_labels = True
    takes_top_k = True


class ValueMSE(LossTerm):
    """Mean squared difference of predicted values."""

    type: Literal["value_mse"] = "value_mse"

    formula = "mean_B( mean_V( (v_s - v_t)^2 ) ), V the values of a sample, on the scale made standard"
    paper = "The squared error of Ba, Caruana 2014, arXiv:1312.6184, on the values of a regression"
    use_when = "The first thing to try for a regression."
    tasks = REGRESSION
    hard_beside = 0.1
    same_outputs = True


class BoundedRegression(LossTerm):
    """Squared error to the label, for the samples on which the teacher does better."""

    type: Literal["bounded_regression"] = "bounded_regression"
    weight: Weight = 0.5
    margin: float = Field(
        default=0.0, ge=0, le=1e6, description="By how much, squared, the student must beat the teacher to be let off."
    )

    formula = "mean_B( |v_s - y|^2 where |v_s - y|^2 + margin > |v_t - y|^2, else 0 )"
    paper = (
        "Chen et al. 2017, Learning efficient object detection models with knowledge distillation, NeurIPS, its "
        "bounded regression loss; 0.5 is its weight"
    )
    use_when = "A regression whose teacher is itself far off on some samples, which should not be copied."
    tasks = REGRESSION
    same_outputs = True
    needs_labels = True


ResponseLoss = (
    SoftCrossEntropy
    | KD
    | LogitsMSE
    | DKD
    | NKD
    | DIST
    | TTM
    | WTTM
    | HardKD
    | WSLD
    | CTKD
    | MLKD
    | LabelSmoothingTeacher
    | ValueMSE
    | BoundedRegression
)

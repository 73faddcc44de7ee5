"""Losses on responses: what the last layer says."""

from typing import Literal

from pydantic import Field

from models.spec.base import Temperature, Weight
from models.spec.losses.term import EVERY_TASK, LossTerm, temperature


class SoftCrossEntropy(LossTerm):
    """Cross-entropy between temperature-softened distributions. Its minimum is T^2 times the teacher's entropy."""

    type: Literal["soft_cross_entropy"] = "soft_cross_entropy"
    T: Temperature = temperature(4.0)
    weight: Weight = 0.9

    formula = "T^2 * mean_B( - sum_C p_t^T * log p_s^T )"
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2"
    use_when = "You want the form of the original paper; its gradient is the same as that of kd."
    hard_beside = 0.1
    same_outputs = True


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
    use_when = "As kd. The authors took T = 5 to 10 and weights up to 45 on CIFAR-100; take less with fewer classes."
    same_outputs = True


class WTTM(LossTerm):
    """As ttm, each sample by the sum of the teacher's powers: the less sure the teacher, the more."""

    type: Literal["wttm"] = "wttm"
    T: Temperature = temperature(5.0)
    weight: Weight = 4.0

    formula = "mean_B( U * sum_C p_t^T * (log p_t^T - log p_s) ), U = sum_C p_t^(1/T), p_s = softmax(z_s)"
    paper = "Zheng, Yang 2024, arXiv:2402.11148, section 4, with T = 1 / gamma"
    use_when = "As ttm, where what the teacher says of its doubtful samples matters most. U grows with the classes."
    same_outputs = True


ResponseLoss = SoftCrossEntropy | KD | LogitsMSE | DKD | NKD | DIST | TTM | WTTM

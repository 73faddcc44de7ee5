"""Losses on responses: what the last layer says."""

from typing import Literal

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


ResponseLoss = SoftCrossEntropy | KD | LogitsMSE

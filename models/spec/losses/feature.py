"""Losses on features: what layers in between say."""

from typing import Literal

from models.spec.losses.term import EVERY_TASK, LossTerm, Taps


class Hint(LossTerm):
    """Mean squared error between the teacher's features and the student's, through a learned projector."""

    type: Literal["hint"] = "hint"
    taps: Taps = "auto"

    formula = "mean over taps of mean( (r(F_s) - F_t)^2 ), r a learned 1x1 convolution (maps) or linear layer (vectors)"
    paper = "Romero et al. 2015, FitNets, arXiv:1412.6550, equation 3"
    use_when = "Teacher and student are of one family; across families compare with the student trained alone."
    tasks = EVERY_TASK
    needs_taps = True


FeatureLoss = Hint

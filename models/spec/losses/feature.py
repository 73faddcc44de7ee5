"""Losses on features: what layers in between say."""

from typing import Annotated, Literal

from pydantic import Field

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


class VID(LossTerm):
    """Variational information: the likelihood of the teacher's features under a Gaussian around the student's."""

    type: Literal["vid"] = "vid"
    taps: Taps = "auto"

    formula = (
        "mean over taps of mean( ((r(F_s) - F_t)^2 / v_c + log v_c) / 2 ), v_c = softplus(a_c) + 1e-5 a trained "
        "variance of each channel of the teacher, 5 at first; r as in hint"
    )
    paper = "Ahn et al. 2019, arXiv:1904.05835, equations 3 to 6. The value may be negative"
    use_when = "As hint, where some channels of the teacher cannot be predicted: those come to count less."
    tasks = EVERY_TASK
    needs_taps = True


class AB(LossTerm):
    """Activation boundaries: which units of the teacher are on, with a margin; not by how much."""

    type: Literal["ab"] = "ab"
    taps: Taps = "auto"
    margin: Annotated[float, Field(gt=0, le=100, description="How far from 0 a unit of the student should be.")] = 1.0

    formula = (
        "mean over taps of mean( [t > 0] max(0, m - r(s))^2 + [t <= 0] max(0, m + r(s))^2 ), s and t before the "
        "activation, r as in hint"
    )
    paper = "Heo et al. 2019, arXiv:1811.03233, equation 4, averaged over units; the paper trains by it alone at first"
    use_when = "Networks with ReLU, tapped at what goes into one (a batch norm): after a ReLU every unit looks on."
    tasks = EVERY_TASK
    needs_taps = True


FeatureLoss = Hint | VID | AB

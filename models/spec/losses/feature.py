"""Losses on features: what layers in between say."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Temperature, Weight
from models.spec.losses.term import EVERY_TASK, LossTerm, Taps, temperature


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


class OFD(LossTerm):
    """Overhaul of feature distillation: features before the activation, where they can still do any good."""

    type: Literal["ofd"] = "ofd"
    taps: Taps = "auto"

    formula = (
        "mean over taps of mean( d ), d = 0 where r(s) <= t' <= 0 and (r(s) - t')^2 elsewhere, t' = max(t, m_c), m_c "
        "the mean of the negative values of the teacher's channel in the batch; s and t before the activation, r as "
        "in hint"
    )
    paper = (
        "Heo et al. 2019, arXiv:1904.01866, equations 1 to 3, averaged over units, with the margin read off the batch"
    )
    use_when = "Networks with ReLU, tapped at what goes into one (a batch norm)."
    tasks = EVERY_TASK
    needs_taps = True


class CWD(LossTerm):
    """Channel-wise distillation: for each channel, where in the map it is large, as a distribution."""

    type: Literal["cwd"] = "cwd"
    taps: Taps = "auto"
    T: Temperature = temperature(4.0)
    weight: Weight = 50.0

    formula = (
        "T^2 * mean over taps of mean_B( mean_c( sum_places p_t (log p_t - log p_s) ) ), p = softmax over places of "
        "F / T; F_s goes through a learned 1x1 convolution where the widths differ"
    )
    paper = "Shu et al. 2021, arXiv:2011.13256, equations 3 to 5; 50 is the paper's weight on features, 3 on logits"
    use_when = "Dense prediction, or maps that are large at few places."
    tasks = EVERY_TASK
    needs_taps = True


class MGD(LossTerm):
    """Masked generative distillation: from a part of the student's map, generate the whole of the teacher's."""

    type: Literal["mgd"] = "mgd"
    taps: Taps = "auto"
    masked: Annotated[float, Field(ge=0, lt=1, description="Share of the student's places that are hidden.")] = 0.65

    formula = (
        "mean over taps of mean( (G(M * r(F_s)) - F_t)^2 ), M hides places at random, G = 3x3 convolution, ReLU, 3x3 "
        "convolution, r a learned 1x1 convolution where the widths differ"
    )
    paper = (
        "Yang et al. 2022, arXiv:2205.01529, equations 2 to 5, averaged over units; code that sums over units takes a "
        "weight that is smaller by as many. Masks are drawn from the job's seed, the sample and how far the run is"
    )
    use_when = "Teacher and student of unlike make: the student need not copy, only carry what it takes."
    tasks = EVERY_TASK
    needs_taps = True


class PKD(LossTerm):
    """Pearson correlation of each channel: features compared whatever their size and offset."""

    type: Literal["pkd"] = "pkd"
    taps: Taps = "auto"
    weight: Weight = 6.0

    formula = (
        "mean over taps of mean( (n(F_s) - n(F_t))^2 ) / 2, n(F) = (F - mean) / sqrt(var + 1e-5), mean and variance of "
        "each channel over samples and places; F_s goes through a learned projector where the widths differ"
    )
    paper = "Cao et al. 2022, PKD, arXiv:2207.02039, equations 2 to 4; 6 is the weight of its published settings"
    use_when = "Teacher and student of unlike make, whose features differ in size."
    tasks = EVERY_TASK
    needs_taps = True


class SRD(LossTerm):
    """The embedding through one linear projector, both normalised, compared by the logarithm of a fourth power."""

    type: Literal["srd"] = "srd"

    formula = (
        "log(1 + mean( (n(W e_s) - n(e_t))^4 ) / 1e-6), n(e) = (e - mean) / sqrt(var + 1e-5) over the batch, W learned"
    )
    paper = (
        "Miles, Mikolajczyk 2024, arXiv:2303.11098, equation 7, its logarithm kept finite where student and teacher "
        "agree. The paper adds kd at T = 1: name it as a second term"
    )
    use_when = "A pair of any make: cheap, and nothing to choose. Needs batches of some size."
    tasks = EVERY_TASK
    needs_embedding = True


class Hidden(LossTerm):
    """Hidden states of chosen layers, token by token, through a learned projector."""

    type: Literal["hidden"] = "hidden"
    taps: Taps = "auto"
    measure: Annotated[
        Literal["mse", "cosine"],
        Field(description="`mse`: squared error, averaged. `cosine`: 1 - cosine of each token's two states."),
    ] = "mse"

    formula = (
        "mean over taps of mean_tokens( mean_D( (W h_s - h_t)^2 ) ) or of mean_tokens( 1 - cos(W h_s, h_t) ), W a "
        "learned matrix where the widths differ"
    )
    paper = (
        "mse: Jiao et al. 2020, TinyBERT, arXiv:1909.10351, equation 8. cosine: Sanh et al. 2019, DistilBERT, "
        "arXiv:1910.01108; twice that is the squared distance of unit vectors of Sun et al. 2019, arXiv:1908.09355"
    )
    use_when = "Transformers, best with the same tokens: name pairs of layers, such as each second one of the teacher."
    tasks = EVERY_TASK
    needs_taps = True


class ReviewKD(LossTerm):
    """Knowledge review: each stage of the student, with all deeper ones fused into it, against the teacher's stage."""

    type: Literal["reviewkd"] = "reviewkd"
    taps: Taps = "auto"
    width: Annotated[
        int, Field(ge=1, le=4096, description="Channels in which stages are fused; fewer where the last stage has so.")
    ] = 512
    ramp: Annotated[
        float, Field(ge=0, le=1, description="Share of the run over which the term rises from 0 to its weight.")
    ] = 0.08
    weight: Weight = 4.0

    formula = (
        "r * mean over taps of HCL(O(y), F_t), from the last tap to the first x = A(F_s), y = a * x + (1st: y = x) "
        "b * (the y of the tap before, enlarged), (a, b) = sigmoid(W [x, y]); A, W 1x1 and O 3x3 convolutions; HCL = "
        "mean square of the difference at full size and averaged down to 4, 2 and 1 places a side, weighted 1, 1/2, "
        "1/4, 1/8 over their sum; r = min(1, progress / ramp)"
    )
    paper = (
        "Chen et al. 2021, arXiv:2104.09044, section 3, without its batch norms; the ramp is the 20 of 240 epochs of "
        "its code. The paper sums over stages: 4 here is its weight of 1 with four. Its pairs take 0.6 to 8"
    )
    use_when = "Convolutional networks of several stages; the teacher's early stages teach the student's deep ones."
    tasks = EVERY_TASK
    needs_taps = True


FeatureLoss = Hint | VID | AB | OFD | CWD | MGD | PKD | SRD | Hidden | ReviewKD

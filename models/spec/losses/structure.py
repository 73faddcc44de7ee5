"""Losses on the structure of a feature: where it is large, and which of its channels, places or layers go together."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.spec.base import Weight
from models.spec.losses.term import EVERY_TASK, LossTerm, TapPair, Taps

_PAPER_WEIGHT = 1.0


class Attention(LossTerm):
    """Attention transfer: at which places the features are large, whatever the channel."""

    type: Literal["attention"] = "attention"
    taps: Taps = "auto"
    form: Annotated[
        Literal["code", "paper"],
        Field(
            description="The two published sizes of one idea. `code`: mean over places of the squared difference, "
            "weight 1000. `paper`: length of the difference, weight 1 where the job names none."
        ),
    ] = "code"
    weight: Weight = 1000.0

    formula = (
        "mean over taps of mean_B( mean_places( (a_s - a_t)^2 ) ) in form code, of mean_B( ||a_s - a_t||_2 ) in form "
        "paper; a = q / ||q||_2, q = mean over channels of F^2 at each place"
    )
    paper = (
        "Zagoruyko, Komodakis 2017, arXiv:1612.03928, equation 2; its published code squares and averages instead, by "
        "a weight of 1000"
    )
    use_when = "Convolutional teacher and student of one family; across families it often does worse than no teacher."
    tasks = EVERY_TASK
    needs_taps = True

    @model_validator(mode="before")
    @classmethod
    def _weight_of_the_form(cls, given: Any) -> Any:
        """The two forms differ in size by far more than a weight should be off."""
        if isinstance(given, dict) and given.get("form") == "paper":
            return {"weight": _PAPER_WEIGHT, **given}
        return given


class NST(LossTerm):
    """Neuron selectivity transfer: which places the channels of a map are selective for, as a distribution."""

    type: Literal["nst"] = "nst"
    taps: Taps = "auto"
    weight: Weight = 50.0

    formula = (
        "mean over taps of mean_B( mean_{c,c'} k(s_c, s_c') + mean_{c,c'} k(t_c, t_c') - 2 mean_{c,c'} k(s_c, t_c') ), "
        "k(x, y) = (x . y)^2, s_c and t_c the maps of one channel over their length"
    )
    paper = (
        "Huang, Wang 2017, arXiv:1707.01219, equation 5 with the polynomial kernel of degree 2; 50 is its weight in "
        "the comparison of Tian et al. 2020, arXiv:1910.10699"
    )
    use_when = "As attention, where channels are selective for different places."
    tasks = EVERY_TASK
    needs_taps = True


class FSP(LossTerm):
    """Flow of solution procedure: how channels of one stage go together with channels of the next."""

    type: Literal["fsp"] = "fsp"
    taps: Taps = "auto"
    weight: Weight = 50.0

    formula = "mean over neighbouring taps of mean_B( mean_{c,c'}( (G_s - G_t)^2 ) ), G = F_1 F_2^T / places"
    paper = (
        "Yim et al. 2017, A gift from knowledge distillation, CVPR, equations 1 and 2; 50 is the weight in the "
        "comparison of Tian et al. 2020, arXiv:1910.10699"
    )
    use_when = "Teacher and student of one family and width that differ in depth. Features must be of ordinary size."
    tasks = EVERY_TASK
    needs_taps = True


class ICC(LossTerm):
    """Inter-channel correlation: which channels of a feature go together."""

    type: Literal["icc"] = "icc"
    taps: Taps = "auto"
    weight: Weight = 2.5

    formula = (
        "mean over taps of mean_B( mean_c( ||g_s^c - g_t^c||_2^2 ) ), g^c the c-th row of F F^T over its length; F_s "
        "goes through a learned 1x1 convolution where the widths differ"
    )
    paper = (
        "Liu et al. 2021, ICKD, arXiv:2202.03680, equations 2 to 4; its code averages over c^2 with a weight of 500, "
        "which is 2.5 here for 200 channels"
    )
    use_when = "Convolutional networks whose maps differ in size."
    tasks = EVERY_TASK
    needs_taps = True


class MiniLM(LossTerm):
    """Relations of self-attention: how queries, keys and values of one layer each relate to one another."""

    type: Literal["minilm"] = "minilm"
    taps: Annotated[
        list[TapPair],
        Field(
            min_length=1,
            max_length=16,
            description="Pairs of the layers that give queries, keys and values side by side, such as "
            "`blocks.11.attn.qkv`, or `bert.encoder.layer.11.attention.self.joined`; a stage would not do, so there is "
            "no `auto`.",
        ),
    ]
    heads: Annotated[
        int, Field(ge=1, le=256, description="Relation heads: both widths are cut into as many parts.")
    ] = 4

    formula = (
        "mean over taps, over {Q, K, V}, heads and tokens of KL( softmax(A_t A_t^T / sqrt(d_t)) || "
        "softmax(A_s A_s^T / sqrt(d_s)) ), A (tokens x d) the part of one head"
    )
    paper = "Wang et al. 2021, MiniLMv2, arXiv:2012.15828, equations 5 to 8"
    use_when = "Teacher and student are transformers with the same tokens: widths and numbers of heads may differ."
    tasks = EVERY_TASK
    needs_taps = True


StructureLoss = Attention | NST | FSP | ICC | MiniLM

"""Losses on token distributions: every position of every sequence is a sample, every token of the vocabulary a class.

They fit any classifier; generative models are where the direction of a divergence matters and vocabularies are large.
"""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Temperature, Weight
from models.spec.losses.term import LossTerm, temperature

TopK = Annotated[int, Field(ge=1, le=1_000_000)]


def top_k() -> TopK | None:
    """The field `top_k`."""
    field: TopK | None = Field(
        default=None,
        description=(
            "Compare the classes with the teacher's k largest logits one by one and all others together, as one class. "
            "Leave it out to compare all."
        ),
    )
    return field


class ForwardKL(LossTerm):
    """KL divergence from teacher to student: the student covers all that the teacher may say."""

    type: Literal["forward_kl"] = "forward_kl"
    T: Temperature = temperature(1.0)
    top_k: TopK | None = top_k()

    formula = "T^2 * mean_N( sum_C p_t^T * (log p_t^T - log p_s^T) ), N tokens"
    paper = "Hinton, Vinyals, Dean 2015, arXiv:1503.02531; for sequences Kim, Rush 2016, arXiv:1606.07947, section 3.1"
    use_when = "The first thing to try for a generative student; as kd, with T = 1 and top_k."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True


class ReverseKL(LossTerm):
    """KL divergence from student to teacher: the student keeps to what the teacher finds likely."""

    type: Literal["reverse_kl"] = "reverse_kl"
    T: Temperature = temperature(1.0)
    top_k: TopK | None = top_k()

    formula = "T^2 * mean_N( sum_C p_s^T * (log p_s^T - log p_t^T) ), N tokens"
    paper = "Gu et al. 2023, MiniLLM, arXiv:2306.08543, equation 1, by token and in closed form"
    use_when = "The student is too small for all that the teacher says and should rather be right than complete."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True


class JSD(LossTerm):
    """Generalised Jensen-Shannon divergence: between the two directions of KL, and bounded."""

    type: Literal["jsd"] = "jsd"
    T: Temperature = temperature(1.0)
    beta: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of the teacher in the mixture. Near 0 it goes like forward_kl, near 1 like reverse_kl.",
    )
    top_k: TopK | None = top_k()

    formula = "T^2 * mean_N( beta * KL(p_t || m) + (1-beta) * KL(p_s || m) ), m = beta * p_t + (1-beta) * p_s, all at T"
    paper = "Agarwal et al. 2023, GKD, arXiv:2306.13649, equation 1"
    use_when = "Between forward_kl and reverse_kl, and where outliers should not rule: its value is bounded."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True


class SkewKL(LossTerm):
    """KL divergence to a mixture of both, which is finite and steady where one side has no share."""

    type: Literal["skew_kl"] = "skew_kl"
    T: Temperature = temperature(1.0)
    direction: Literal["forward", "reverse"] = Field(
        default="forward", description="`forward` starts from the teacher, `reverse` from the student."
    )
    skew: float = Field(default=0.1, ge=0, lt=1, description="Share of the side it starts from in the mixture.")
    top_k: TopK | None = top_k()

    formula = (
        "forward: T^2 * mean_N( KL(p_t || skew * p_t + (1-skew) * p_s) ); "
        "reverse: T^2 * mean_N( KL(p_s || (1-skew) * p_t + skew * p_s) ); all at T"
    )
    paper = "Ko et al. 2024, DistiLLM, arXiv:2402.03898"
    use_when = "forward_kl or reverse_kl is unsteady because some tokens are all but impossible on one side."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True


class TVD(LossTerm):
    """Total variation distance: half the sum of the differences of probabilities."""

    type: Literal["tvd"] = "tvd"
    T: Temperature = temperature(1.0)
    top_k: TopK | None = top_k()

    formula = "mean_N( 1/2 * sum_C |p_s^T - p_t^T| ), without T^2, N tokens"
    paper = "Wen et al. 2023, f-DISTILL, arXiv:2307.15190"
    use_when = "Labels or teachers are noisy: no single token counts for more than its probability."
    hard_beside = 0.1
    same_outputs = True
    takes_top_k = True


class ULD(LossTerm):
    """Difference of the sorted probabilities of both: which class has them is not compared."""

    type: Literal["uld"] = "uld"
    T: Temperature = temperature(1.0)
    weight: Weight = 1.5

    formula = "mean_N( sum_i |p_s^T sorted down [i] - p_t^T sorted down [i]| ), the shorter one filled up with 0"
    paper = "Boizard et al. 2024, Universal Logit Distillation, arXiv:2402.12030; 1.5 is its weight"
    use_when = "The teacher has another vocabulary or other classes: it teaches how sure to be, not of what."
    takes_top_k = True


TokenLoss = ForwardKL | ReverseKL | JSD | SkewKL | TVD | ULD

"""Losses on relations: how the samples of a batch lie to each other."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Weight
from models.spec.losses.term import EVERY_TASK, LossTerm, Taps

#: What the banks of a term may take of the device's memory, and of every checkpoint.
BANK_BYTES = 2 * 2**30


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


class RKD(LossTerm):
    """Pairwise distances, and the angles of all triples of a batch, each compared by a smooth L1 error."""

    type: Literal["rkd"] = "rkd"
    distance: Annotated[float, Field(ge=0, le=1e4, description="Weight of the distances; 0 leaves them out.")] = 25.0
    angle: Annotated[float, Field(ge=0, le=1e4, description="Weight of the angles; 0 leaves them out.")] = 50.0

    formula = (
        "distance * mean_{i != j} h(d_s^ij / mean(d_s) - d_t^ij / mean(d_t)) + angle * mean_{i, j, k differ} "
        "h(cos_s^ijk - cos_t^ijk); d^ij = ||e^i - e^j||_2, cos^ijk the angle at j, h(x) = x^2 / 2 up to |x| = 1, "
        "then |x| - 1/2"
    )
    paper = "Park et al. 2019, RKD, arXiv:1904.05068, equations 3 to 8; the weights are those of its code, 25 and 50"
    use_when = "Embeddings whose geometry matters (retrieval), or networks of unlike width. Angles cost B^3 operations."
    tasks = EVERY_TASK
    needs_embedding = True


class SP(LossTerm):
    """Similarity preserving: which samples of a batch light up alike, compared row by row."""

    type: Literal["sp"] = "sp"
    taps: Taps = "auto"
    weight: Weight = 45.0

    formula = (
        "mean over taps of mean_{i, j}( (G_s^ij / r_s^i - G_t^ij / r_t^i)^2 ), G = Q Q^T of the flattened features Q, "
        "r^i = sqrt(mean_j (G^ij)^2)"
    )
    paper = (
        "Tung, Mori 2019, arXiv:1907.09682, equations 1 to 4. A row is divided by its root mean square and not by its "
        "length, which makes the value B times that of the paper and independent of B; 45 is the paper's 3000 at B = 64"
    )
    use_when = "Features of unlike shape: no projector is needed. The last stage says most."
    tasks = EVERY_TASK
    needs_taps = True


class PKT(LossTerm):
    """Probabilistic knowledge transfer: for each sample, how likely each other sample is to be its neighbour."""

    type: Literal["pkt"] = "pkt"
    weight: Weight = 470.0

    formula = (
        "mean_i sum_{j != i} p_t^{j|i} (log p_t^{j|i} - log p_s^{j|i}), p^{j|i} = k^ij / sum_{n != i} k^in, "
        "k^ij = (1 + cos(e^i, e^j)) / 2"
    )
    paper = (
        "Passalis, Tefas 2018, arXiv:1803.10837, equations 2 to 5, averaged over samples. Code that averages over B^2 "
        "entries takes a weight of 30000, which is 470 here at B = 64"
    )
    use_when = "As similarity; it minds the near neighbours of a sample more than the far ones."
    tasks = EVERY_TASK
    needs_embedding = True


class CC(LossTerm):
    """Correlation congruence: a Gaussian kernel between samples, as a Taylor series."""

    type: Literal["cc"] = "cc"
    gamma: Annotated[float, Field(gt=0, le=10, description="Of the kernel exp(-gamma ||x - y||^2).")] = 0.4
    order: Annotated[int, Field(ge=1, le=10, description="The highest power in the Taylor series.")] = 2

    formula = (
        "mean_{i, j}( (K_s^ij - K_t^ij)^2 ), K^ij = exp(-2 gamma) sum_{p=0}^{order} (2 gamma)^p / p! * cos(e^i, e^j)^p"
    )
    paper = "Peng et al. 2019, arXiv:1904.01802, equations 6 and 8; widely copied code multiplies neighbours instead"
    use_when = "As similarity, with more weight on close samples. Across families it often does worse than no teacher."
    tasks = EVERY_TASK
    needs_embedding = True


class Ranking(LossTerm):
    """The teacher's best outputs of each sample, in the teacher's order, ahead of all others."""

    type: Literal["ranking"] = "ranking"
    top_k: Annotated[int, Field(ge=1, le=1000, description="How many of the teacher's best outputs are ordered.")] = 10

    formula = (
        "mean_B( mean_{i=1}^k( - log( exp(z_s^{o_i}) / sum_{j >= i} exp(z_s^{o_j}) ) ) ), o the outputs from the "
        "teacher's best to its worst, k = min(top_k, C - 1)"
    )
    paper = (
        "Kang et al. 2020, DE-RRD, arXiv:2012.04357, equation 7 (relaxed ranking distillation); the list-wise "
        "likelihood of Xia et al. 2008, ListMLE. The same items are given for each sample: nothing is sampled"
    )
    use_when = "Outputs are items to recommend and only their order counts, above all at the top."
    same_outputs = True
    takes_top_k = True


class CRD(LossTerm):
    """Contrastive representation distillation: tell a sample's own embedding of the teacher from those of others."""

    type: Literal["crd"] = "crd"
    form: Annotated[
        Literal["batch", "bank"],
        Field(
            description="Where the other samples come from. `batch`: the rest of the batch (InfoNCE). `bank`: two "
            "memories that hold an embedding of every training row (NCE, as in the paper), for small batches."
        ),
    ] = "batch"
    dim: Annotated[int, Field(ge=2, le=4096, description="Width of the space in which both are compared.")] = 128
    tau: Annotated[float, Field(ge=0.01, le=10, description="Cosines are divided by it.")] = 0.07
    negatives: Annotated[
        int, Field(ge=1, le=65_536, description="Form bank: rows drawn for each step, for all of its samples.")
    ] = 16_384
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="Form bank: how much of a row's old embedding stays when it is seen.")
    ] = 0.5
    weight: Weight = 0.8

    formula = (
        "batch: mean_i( log mean_j exp(c^ij / tau) - c^ii / tau ), and the same over columns, their mean; bank, for "
        "the student against the teacher's bank and the teacher against the student's: mean_i( -log h(c^i) - sum_k^K "
        "log(1 - h(c^ik)) ), h(c) = exp(c / tau) / (exp(c / tau) + Z K / n), Z / n the mean of exp(c / tau) over the "
        "first batch; c = cos(W_s e_s, W_t e_t), both W learned, n training rows"
    )
    paper = (
        "Tian et al. 2020, arXiv:1910.10699, equations 10 and 19 (bank), dim, tau, K, momentum and weight (0.8) of its "
        "code; a step's samples share its K rows. batch: van den Oord et al. 2018, InfoNCE, arXiv:1807.03748, "
        "equation 4, less log B, so that the value does not grow with the batch; it may be negative"
    )
    use_when = "Networks of unlike make, for representations that will be used again. batch wants 64 samples or more."
    tasks = EVERY_TASK
    needs_embedding = True

    def most_rows(self) -> int | None:
        """As many as fit two banks of float32 into `BANK_BYTES`."""
        return BANK_BYTES // (2 * 4 * self.dim) if self.form == "bank" else None


RelationLoss = Similarity | Distance | RKD | SP | PKT | CC | CRD | Ranking

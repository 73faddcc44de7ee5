"""Losses on relations: how the samples of a batch lie to each other."""

from typing import Literal

from models.spec.losses.term import EVERY_TASK, LossTerm


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


RelationLoss = Similarity | Distance

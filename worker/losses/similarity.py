"""Squared difference of the pairwise cosine similarities of a batch.

The cosine kernel of Passalis, Tefas 2018, arXiv:1803.10837, compared by squared error. It reads the embedding before
the last linear layer; the two widths may differ. A zero vector has similarity 0 with everything and gets no gradient.
"""

from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine.lengths import cosines
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term


class Similarity(Term):
    """(cos_s^ij - cos_t^ij)^2, averaged over pairs of different samples."""

    min_batch = 2
    per_sample = False

    def __init__(self, _spec: menu.Similarity, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where all angles between samples agree."""
        s_ND, t_ND = embeddings(student, teacher)
        return batch.mean_of_pairs((cosines(s_ND) - cosines(t_ND)).square())

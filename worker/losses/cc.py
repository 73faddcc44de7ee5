"""Correlation congruence: squared difference of the kernel matrices of a batch.

Peng et al. 2019, arXiv:1904.01802: the Gaussian kernel of normalised embeddings by its Taylor series (equation 8),
compared by squared error over all pairs (equation 6). Widely copied code compares the products of neighbouring samples
instead, which depends on the order of the batch; this does not.
"""

import math

import torch
from torch import Tensor

from models.spec.losses import relation as menu
from worker.engine.lengths import cosines
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term


class CC(Term):
    """(K_s^ij - K_t^ij)^2, averaged over all pairs of samples."""

    min_batch = 2

    def __init__(self, spec: menu.CC, _student: Outputs, _teacher: Outputs) -> None:
        super().__init__()
        base = 2 * spec.gamma
        self._series = [math.exp(-base) * base**p / math.factorial(p) for p in range(spec.order + 1)]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where all samples are as close to each other."""
        s_ND, t_ND = embeddings(student, teacher)
        return batch.mean_of_all_pairs((self._kernel(s_ND) - self._kernel(t_ND)).square())

    def _kernel(self, e_ND: Tensor) -> Tensor:
        cosine_NN = cosines(e_ND)
        kernel_NN = torch.zeros_like(cosine_NN)
        for factor in reversed(self._series):
            kernel_NN = kernel_NN * cosine_NN + factor
        return kernel_NN

"""Generalised JSD by hand, from Agarwal et al. 2023, arXiv:2306.13649, equation 1, times T^2.

m = beta t + (1 - beta) s, f = beta t ln(t / m) + (1 - beta) s ln(s / m). By s, the parts through m add up to
-(1 - beta) (beta t + (1 - beta) s) / m = -(1 - beta), which cancels that of s ln s: df/ds = (1 - beta) ln(s / m).
"""

import numpy as np

from tests.reference.buckets import by_groups
from tests.reference.case import Answer, Array, Case

VARIANTS = [{"top_k": 2}, {"beta": 0.1}]


def answer(case: Case) -> Answer:
    beta = case.spec.beta

    def divergence(t: Array, s: Array) -> tuple[Array, Array]:
        m = beta * t + (1 - beta) * s
        return beta * t * np.log(t / m) + (1 - beta) * s * np.log(s / m), (1 - beta) * np.log(s / m)

    return by_groups(case, divergence, case.spec.T**2)

"""Pearson correlation from Cao et al. 2022, arXiv:2207.02039, equations 2 to 4, by complex steps.

n(F) = (F - m_c) / sqrt(v_c + 1e-5) with m and v over samples (by their weights) and places; L = mean (n_s - n_t)^2 / 2.
"""

from typing import Any

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs, projected, standardised
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("map", "even", "vector", "tokens")


def answer(case: Case) -> Answer:
    w = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, (s, t) in enumerate(pairs(case, at)):
            difference = standardised(projected(case, at, n, s), w) - standardised(t, w)
            total += w @ (difference**2).mean((1, 2)) / 2
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)

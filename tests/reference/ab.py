"""Activation boundaries from Heo et al. 2019, arXiv:1811.03233, equation 4, averaged over units, by complex steps."""

from typing import Any

import numpy as np

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs, projected
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("map", "vector", "tokens")


def answer(case: Case) -> Answer:
    w, m = shares(case), case.spec.margin

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, (s, t) in enumerate(pairs(case, at)):
            r = projected(case, at, n, s)
            on, off = np.where(r.real < m, (m - r) ** 2, 0.0), np.where(r.real > -m, (m + r) ** 2, 0.0)
            total += w * np.where(t > 0, on, off).mean((1, 2))
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)

"""Variational information from Ahn et al. 2019, arXiv:1904.05835, equations 3 to 6, by complex steps.

-ln q(t | s) = ((r(s) - t)^2 / v_c + ln v_c) / 2 up to a constant, v_c = ln(1 + exp a_c) + 1e-5, at each place.
"""

from typing import Any

import numpy as np

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs, projected
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("map", "vector", "mixed", "tokens")


def answer(case: Case) -> Answer:
    w = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, (s, t) in enumerate(pairs(case, at)):
            v = (np.log1p(np.exp(at[f"parameters.spreads.{n}"])) + 1e-5)[None, :, None]
            each = ((projected(case, at, n, s) - t) ** 2 / v + np.log(v)) / 2
            total += w * each.mean((1, 2))
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)

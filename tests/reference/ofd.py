"""Overhaul of feature distillation from Heo et al. 2019, arXiv:1904.01866, equations 1 to 3, by complex steps.

m_c = E[t | t < 0] over the batch, t' = max(t, m_c), d = 0 where r <= t' <= 0 and (r - t')^2 elsewhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Array, Case
from tests.reference.maps import pairs, projected
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("map", "vector", "tokens")


def answer(case: Case) -> Answer:
    w = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, (s, t) in enumerate(pairs(case, at)):
            r, target = projected(case, at, n, s), np.maximum(t, _margin(t, w)[None, :, None])
            off = (r.real <= target) & (target <= 0)
            total += w * np.where(off, 0.0, (r - target) ** 2).mean((1, 2))
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)


def _margin(t: NDArray[Any], w: Array) -> Array:
    margins = np.zeros(t.shape[1])
    for c in range(t.shape[1]):
        parts = [(w[b], x) for b in range(len(t)) for x in t[b, c] if x < 0 and w[b] > 0]
        if parts:
            margins[c] = sum(v * x for v, x in parts) / sum(v for v, _ in parts)
    return margins

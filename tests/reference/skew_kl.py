"""Skewed KL by hand, from Ko et al. 2024, arXiv:2402.03898, times T^2; k is the skew.

Forward: m = k t + (1 - k) s, f = t ln(t / m), df/ds = -(1 - k) t / m.
Reverse: m = (1 - k) t + k s, f = s ln(s / m), df/ds = ln(s / m) + 1 - k s / m.
"""

import numpy as np

from tests.reference.buckets import by_groups
from tests.reference.case import Answer, Array, Case

VARIANTS = [{"top_k": 2}, {"skew": 0.0}, {"skew": 0.7, "direction": "reverse"}]


def answer(case: Case) -> Answer:
    k = case.spec.skew

    def forward(t: Array, s: Array) -> tuple[Array, Array]:
        m = k * t + (1 - k) * s
        return t * np.log(t / m), -(1 - k) * t / m

    def reverse(t: Array, s: Array) -> tuple[Array, Array]:
        m = (1 - k) * t + k * s
        return s * np.log(s / m), np.log(s / m) + 1 - k * s / m

    return by_groups(case, forward if case.spec.direction == "forward" else reverse, case.spec.T**2)

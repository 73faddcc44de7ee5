"""Similarity preserving from Tung, Mori 2019, arXiv:1907.09682, equations 1 to 4, by complex steps.

G = Q Q^T, rows over their length, L = |G_t - G_s|_F^2 / b^2. With weights v that add up to 1 a length is that of the
row's weighted mean square, and L = sum_ij v_i v_j (...)^2, b times the paper's where all weights are equal.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.steps import Moving, shares, students
from tests.reference.steps import answer as by_steps


def answer(case: Case) -> Answer:
    v = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for pair in case.spec.taps:
            s = _rows(at[f"features.{pair.student}"], v)
            t = _rows(case.teacher.features[pair.teacher], v)
            total += v @ ((s - t) ** 2) @ v
        return total / len(case.spec.taps)

    return by_steps(case, students(case), value)


def _rows(x: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    q = x.reshape(len(x), -1)
    G = np.einsum("id,jd->ij", q, q)
    square = (G * G * v).sum(1, keepdims=True)
    there = square.real > 0
    return np.where(there, G / np.sqrt(np.where(there, square, 1.0)), 0.0)

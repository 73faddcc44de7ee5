"""Attention relations from Wang et al. 2021, arXiv:2012.15828, equations 5 to 8, head by head, by complex steps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.steps import Moving, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("qkv",)


def answer(case: Case) -> Answer:
    v, heads = shares(case), case.spec.heads

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for pair in case.spec.taps:
            s, t = at[f"features.{pair.student}"], case.teacher.features[pair.teacher]
            for part in range(3 * heads):
                r_s, r_t = _relation(s, part, 3 * heads), _relation(t, part, 3 * heads)
                total += v * (np.exp(r_t) * (r_t - r_s)).sum(2).mean(1) / (3 * heads)
        return total / len(case.spec.taps)

    return by_steps(case, students(case), value)


def _relation(x: NDArray[Any], part: int, parts: int) -> NDArray[Any]:
    """ln softmax(A A^T / sqrt(d)) of one part of the width; heads of Q come first, then those of K and V."""
    d = x.shape[2] // parts
    a = x[:, :, part * d : (part + 1) * d]
    scores = np.einsum("bid,bjd->bij", a, a) / np.sqrt(d)
    scores = scores - scores.real.max(2, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(2, keepdims=True)))

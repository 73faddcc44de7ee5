"""Probabilistic knowledge transfer from Passalis, Tefas 2018, arXiv:1803.10837, equations 2 to 5, by complex steps.

k_ij = (1 + cos_ij) / 2, p_{j|i} = w_j k_ij / sum_{n != i} w_n k_in, L = sum_i v_i sum_{j != i} p_t ln(p_t / p_s).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.steps import Moving, shares, unit
from tests.reference.steps import answer as by_steps


def answer(case: Case) -> Answer:
    v = shares(case)
    B = len(v)
    there = [[j for j in range(B) if j != i and v[j] > 0] for i in range(B)]

    def value(at: Moving) -> Any:
        k_s, k_t = _kernel(at["embedding"]), _kernel(case.teacher.embedding)
        total: Any = 0.0
        for i in range(B):
            if v[i] > 0 and there[i]:
                p_s, p_t = (v[there[i]] * k[i, there[i]] for k in (k_s, k_t))
                p_s, p_t = p_s / p_s.sum(), p_t / p_t.sum()
                total += v[i] * (p_t * np.log(p_t / p_s)).sum()
        return total

    return by_steps(case, ["embedding"], value)


def _kernel(e: NDArray[Any]) -> NDArray[Any]:
    u = unit(e)
    return np.asarray((1 + np.einsum("id,jd->ij", u, u)) / 2)

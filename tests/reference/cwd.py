"""Channel-wise distillation from Shu et al. 2021, arXiv:2011.13256, equations 3 to 5, by complex steps.

p_cp = exp(F_cp / T) / sum_q exp(F_cq / T); L = T^2 sum_b w_b 1/C sum_c sum_p p_t (ln p_t - ln p_s).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs, projected
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("map", "even", "tokens")


def answer(case: Case) -> Answer:
    w, T = shares(case), case.spec.T

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, (s, t) in enumerate(pairs(case, at)):
            log_s, log_t = _log_softened(projected(case, at, n, s), T), _log_softened(t, T)
            total += T**2 * w * (np.exp(log_t) * (log_t - log_s)).sum(2).mean(1)
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)


def _log_softened(x: NDArray[Any], T: float) -> NDArray[Any]:
    x = x / T
    x = x - x.real.max(2, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(2, keepdims=True)))

"""Hidden states from Jiao et al. 2020, arXiv:1909.10351, equation 8, and Sanh et al. 2019, arXiv:1910.01108.

|W h_s - h_t|^2 over D, or 1 - cos(W h_s, h_t), for each token. By complex steps; a zero vector has cosine 0.
"""

from typing import Any

import numpy as np

from tests.reference.case import Answer, Case
from tests.reference.steps import Moving, parameters, shares, students, unit
from tests.reference.steps import answer as by_steps

TAPS = ("tokens", "vector", "sequence")


def answer(case: Case) -> Answer:
    w = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, pair in enumerate(case.spec.taps):
            s, t = at[f"features.{pair.student}"], case.teacher.features[pair.teacher]
            if f"projectors.{n}.weight" in case.parameters:
                s = np.matmul(s, at[f"parameters.projectors.{n}.weight"].T)
            each = 1 - (unit(s) * unit(t)).sum(-1) if case.spec.measure == "cosine" else ((s - t) ** 2).mean(-1)
            total += w * each.reshape(len(each), -1).mean(1)
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)

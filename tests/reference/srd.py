"""From Miles, Mikolajczyk 2024, arXiv:2303.11098, equation 7, by complex steps.

L = ln(1 + mean (n(W e_s) - n(e_t))^4 / 1e-6), n(e) = (e - m) / sqrt(v + 1e-5), mean and variance over the batch by the
samples' weights.
"""

from typing import Any

import numpy as np

from tests.reference.case import Answer, Case
from tests.reference.maps import standardised
from tests.reference.steps import Moving, parameters, shares
from tests.reference.steps import answer as by_steps


def answer(case: Case) -> Answer:
    w = shares(case)
    target = standardised(case.teacher.embedding[:, :, None], w)

    def value(at: Moving) -> Any:
        projected = np.matmul(at["embedding"], at["parameters.projector.weight"].T)
        difference = standardised(projected[:, :, None], w) - target
        return np.log(1 + w @ (difference**4).mean((1, 2)) / 1e-6)

    return by_steps(case, ["embedding", *parameters(case)], value)

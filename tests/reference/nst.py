"""Neuron selectivity from Huang, Wang 2017, arXiv:1707.01219, equation 5, kernel (x . y)^2, every pair of channels.

MMD^2 = mean k(s, s') + mean k(t, t') - 2 mean k(s, t) over the channels' maps of length 1. By complex steps.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs
from tests.reference.steps import Moving, shares, students, unit
from tests.reference.steps import answer as by_steps

TAPS = ("map", "wide", "tokens")


def answer(case: Case) -> Answer:
    v = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for s, t in ((unit(s), unit(t)) for s, t in pairs(case, at)):
            total += v * (_kernel(s, s) + _kernel(t, t) - 2 * _kernel(s, t))
        return total / len(case.spec.taps)

    return by_steps(case, students(case), value)


def _kernel(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    every = (x[:, :, None] * y[:, None]).sum(3)
    return np.asarray((every * every).mean((1, 2)))

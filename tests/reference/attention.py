"""Attention transfer from Zagoruyko, Komodakis 2017, arXiv:1612.03928, equation 2, and as its code has it.

q_p = mean_c F_cp^2, a = q / |q|_2; per sample |a_s - a_t|_2 (paper) or the mean over p of (a_s - a_t)^2 (code). By
complex steps; a difference of length 0 has no derivative and none is taken.
"""

from typing import Any

import numpy as np

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs
from tests.reference.steps import Moving, shares, students, unit
from tests.reference.steps import answer as by_steps

TAPS = ("map", "wide", "tokens")


def answer(case: Case) -> Answer:
    v = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for s, t in pairs(case, at):
            square = (unit((s * s).mean(1)) - unit((t * t).mean(1))) ** 2
            if case.spec.form == "code":
                total += v * square.mean(1)
            else:
                length = square.sum(1)
                there = length.real > 0
                total += v * np.where(there, np.sqrt(np.where(there, length, 1.0)), 0.0)
        return total / len(case.spec.taps)

    return by_steps(case, students(case), value)

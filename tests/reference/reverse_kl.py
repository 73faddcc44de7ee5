"""Reverse KL by hand (Gu et al. 2023, arXiv:2306.08543): f = s ln(s / t), so df/ds = ln(s / t) + 1; times T^2."""

import numpy as np

from tests.reference.buckets import by_groups
from tests.reference.case import Answer, Case

VARIANTS = [{"top_k": 2}]


def answer(case: Case) -> Answer:
    return by_groups(case, lambda t, s: (s * np.log(s / t), np.log(s / t) + 1), case.spec.T**2)

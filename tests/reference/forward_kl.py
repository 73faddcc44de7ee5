"""Forward KL by hand (Hinton, Vinyals, Dean 2015, arXiv:1503.02531): f = t ln(t / s), so df/ds = -t / s; times T^2."""

import numpy as np

from tests.reference.buckets import by_groups
from tests.reference.case import Answer, Case

VARIANTS = [{"top_k": 2}]


def answer(case: Case) -> Answer:
    return by_groups(case, lambda t, s: (t * np.log(t / s), -t / s), case.spec.T**2)

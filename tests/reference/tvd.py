"""Total variation by hand (Wen et al. 2023, arXiv:2307.15190): f = |s - t| / 2, df/ds = sign(s - t) / 2, 0 at s = t."""

import numpy as np

from tests.reference.buckets import by_groups
from tests.reference.case import Answer, Case

VARIANTS = [{"top_k": 2}]


def answer(case: Case) -> Answer:
    return by_groups(case, lambda t, s: (np.abs(s - t) / 2, np.sign(s - t) / 2), 1.0)

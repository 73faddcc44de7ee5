"""Correlation congruence from Peng et al. 2019, arXiv:1904.01802, equations 6 and 8, by hand.

K_ij = sum_p a_p c_ij^p with a_p = exp(-2 gamma) (2 gamma)^p / p! and c the cosine; L = sum_ij v_i v_j (K_s - K_t)^2.
dL/dc_ij = 2 v_i v_j (K_s - K_t) sum_p p a_p c_ij^(p-1), and dc_ij/de_i = (u_j - c_ij u_i) / |e_i|.
"""

from math import exp, factorial

import numpy as np

from tests.reference.case import Answer, Array, Case
from tests.reference.steps import shares, unit

VARIANTS = [{"gamma": 1.5, "order": 4}]


def answer(case: Case) -> Answer:
    e, v = case.student.embedding, shares(case)
    two, orders = 2 * case.spec.gamma, range(case.spec.order + 1)
    a = [exp(-two) * two**p / factorial(p) for p in orders]
    c_s, c_t = _cosines(e), _cosines(case.teacher.embedding)
    r = sum(a[p] * (c_s**p - c_t**p) for p in orders)
    by_cosine = 2 * np.outer(v, v) * r * sum(p * a[p] * c_s ** (p - 1) for p in orders if p)
    u, length = unit(e), np.linalg.norm(e, axis=1, keepdims=True)
    both = by_cosine + by_cosine.T
    gradient = both @ u - (both * c_s).sum(1, keepdims=True) * u
    gradient = np.where(length > 0, gradient / np.where(length > 0, length, 1.0), 0.0)
    return Answer(float(v @ (r**2) @ v), {"embedding": gradient})


def _cosines(e: Array) -> Array:
    u = unit(e)
    return np.asarray(u @ u.T)

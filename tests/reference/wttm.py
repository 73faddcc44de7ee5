"""WTTM by hand, from Zheng, Yang 2024, arXiv:2402.11148, section 4.

With U = sum_c p_t^gamma, gamma = 1 / T, and a = p_t^gamma / U: L = sum_b w_b U sum_c a (ln a - ln p_s), and
dL/dz_s = w_b U (p_s - a) = w_b (U p_s - p_t^gamma).
"""

import numpy as np

from tests.reference.case import Answer, Case


def answer(case: Case) -> Answer:
    gamma = 1 / case.spec.T
    w = case.weight / case.weight.sum()
    value, gradient = 0.0, np.zeros_like(case.student.logits)
    for b, (z_s, z_t) in enumerate(zip(case.student.logits, case.teacher.logits, strict=True)):
        p_s, p_t = np.exp(z_s) / np.exp(z_s).sum(), np.exp(z_t) / np.exp(z_t).sum()
        U = (p_t**gamma).sum()
        value += w[b] * float((p_t**gamma * (gamma * np.log(p_t) - np.log(U) - np.log(p_s))).sum())
        gradient[b] = w[b] * (U * p_s - p_t**gamma)
    return Answer(value, {"logits": gradient})

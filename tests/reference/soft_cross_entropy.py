"""Soft cross-entropy by hand, from Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2.

L = - T^2 sum_b w_b sum_c p_t ln p_s. Its derivative by z_s is that of kd, T w_b (p_s - p_t), as the teacher's entropy
is constant; that entropy, T^2 H(p_t), is what is left where the student equals the teacher.
"""

import numpy as np

from tests.reference.case import Answer, Case


def answer(case: Case) -> Answer:
    T = case.spec.T
    w = case.weight / case.weight.sum()
    rows = zip(case.student.logits / T, case.teacher.logits / T, w, strict=True)
    value = 0.0
    gradient = np.zeros_like(case.student.logits)
    for b, (z_s, z_t, w_b) in enumerate(rows):
        log_s = z_s - z_s.max() - np.log(np.exp(z_s - z_s.max()).sum())
        e_t = np.exp(z_t - z_t.max())
        p_t = e_t / e_t.sum()
        value -= T**2 * w_b * float(p_t @ log_s)
        gradient[b] = T * w_b * (np.exp(log_s) - p_t)
    return Answer(value, {"logits": gradient})


def minimum(case: Case) -> float:
    T = case.spec.T
    total = 0.0
    for z_t, w_b in zip(case.teacher.logits / T, case.weight / case.weight.sum(), strict=True):
        e_t = np.exp(z_t - z_t.max())
        p_t = e_t / e_t.sum()
        p_t = p_t[p_t > 0]
        total -= T**2 * w_b * float(p_t @ np.log(p_t))
    return total

"""Tf-KD by hand, from Yuan et al. 2020, arXiv:1909.11723, section 4.2.

p_d is a at the label and (1 - a) / (C - 1) elsewhere; at temperature T, d = p_d^(1/T) / sum p_d^(1/T).
L = T^2 sum_b w_b sum_c d (ln d - ln q_s), q_s = softmax(z_s / T); dL/dz_s = T w_b (q_s - d).
"""

import numpy as np

from tests.reference.case import Answer, Case


def answer(case: Case) -> Answer:
    T, a = case.spec.T, case.spec.confidence
    w = case.weight / case.weight.sum()
    C = case.student.logits.shape[1]
    value, gradient = 0.0, np.zeros_like(case.student.logits)
    for b, (z, y) in enumerate(zip(case.student.logits, case.y, strict=True)):
        powers = np.array([(a if c == y else (1 - a) / (C - 1)) ** (1 / T) for c in range(C)])
        d = powers / powers.sum()
        e = np.exp((z - z.max()) / T)
        q = e / e.sum()
        value += T**2 * w[b] * float((d * np.log(d / q)).sum())
        gradient[b] = T * w[b] * (q - d)
    return Answer(float(value), {"logits": gradient})

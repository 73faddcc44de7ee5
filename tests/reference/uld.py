"""ULD by hand, from Boizard et al. 2024, arXiv:2402.12030.

L = sum_b w_b sum_i |s_(i) - t_(i)|, s_(1) >= s_(2) >= ..., with s_(i) = 0 past the last class, and so with t. A class
k of rank i has h_k = dL/dp_k = sign(s_(i) - t_(i)); classes of equal probability are ranked by their number.
dL/dz_k = w_b p_k (h_k - sum_c h_c p_c) / T.
"""

import numpy as np

from tests.reference.case import Answer, Case


def answer(case: Case) -> Answer:
    T = case.spec.T
    w = case.weight / case.weight.sum()
    value, gradient = 0.0, np.zeros_like(case.student.logits)
    for b, (z_s, z_t) in enumerate(zip(case.student.logits / T, case.teacher.logits / T, strict=True)):
        p, q = np.exp(z_s) / np.exp(z_s).sum(), np.exp(z_t) / np.exp(z_t).sum()
        ranked = sorted(range(len(p)), key=lambda k: (-z_s[k], k))
        q_sorted = np.sort(q)[::-1]
        h = np.zeros_like(p)
        for i in range(max(len(p), len(q))):
            s = p[ranked[i]] if i < len(p) else 0.0
            t = q_sorted[i] if i < len(q) else 0.0
            value += w[b] * abs(s - t)
            if i < len(p):
                h[ranked[i]] = np.sign(s - t)
        gradient[b] = w[b] * p * (h - (h * p).sum()) / T
    return Answer(float(value), {"logits": gradient})

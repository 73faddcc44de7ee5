"""The top-k Plackett-Luce likelihood of Xia et al. 2008 and Kang et al. 2020, arXiv:2012.04357, equation 7, by hand.

With o the teacher's order, L = sum_b w_b / k sum_{i<k} (ln sum_{j>=i} exp z_{o_j} - z_{o_i}); its derivative by z_{o_j}
is sum over i <= min(j, k-1) of softmax over the rest, less 1 where j < k.
"""

import numpy as np

from tests.reference.case import Answer, Case
from tests.reference.steps import shares

VARIANTS = [{"top_k": 2}]


def answer(case: Case) -> Answer:
    z, w = case.student.logits, shares(case)
    k = min(case.spec.top_k, z.shape[1] - 1)
    value, gradient = 0.0, np.zeros_like(z)
    for b in range(len(z)):
        order = sorted(range(z.shape[1]), key=lambda c, b=b: (-case.teacher.logits[b, c], c))  # type: ignore[misc]
        for i in range(k):
            rest = order[i:]
            top = z[b, rest].max()
            total = np.exp(z[b, rest] - top).sum()
            value += w[b] / k * (top + np.log(total) - z[b, order[i]])
            gradient[b, rest] += w[b] / k * np.exp(z[b, rest] - top) / total
            gradient[b, order[i]] -= w[b] / k
    return Answer(float(value), {"logits": gradient})

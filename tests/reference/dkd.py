"""DKD by hand, from Zhao et al. 2022, arXiv:2203.08679, equations 1 to 7.

With u = z / T: b = (p_y, 1 - p_y), p = softmax(u), and q_i = exp(u_i) / sum_{j != y} exp(u_j) for i != y.
L = T^2 sum_b w_b (alpha KL(b_t || b_s) + beta KL(q_t || q_s)). The logit of b is u_y - ln sum_{j != y} exp(u_j), so
dKL(b)/du_y = p_y^s - p_y^t and dKL(b)/du_i = -(p_y^s - p_y^t) q_i^s; dKL(q)/du_i = q_i^s - q_i^t and 0 for y.
dL/dz = T w_b (alpha ... + beta ...).
"""

import numpy as np

from tests.reference.case import Answer, Array, Case


def refuses(case: Case) -> bool:
    """Two classes leave nothing to compare within the rest."""
    return len(case.student.logits[0]) < 3


def answer(case: Case) -> Answer:
    T, alpha, beta = case.spec.T, case.spec.alpha, case.spec.beta
    w = case.weight / case.weight.sum()
    value, gradient = 0.0, np.zeros_like(case.student.logits)
    for b, y in enumerate(case.y):
        p_s, q_s = _parts(case.student.logits[b] / T, y)
        p_t, q_t = _parts(case.teacher.logits[b] / T, y)
        rest = np.arange(len(gradient[b])) != y
        target = p_t * np.log(p_t / p_s) + (1 - p_t) * np.log((1 - p_t) / (1 - p_s))
        value += T**2 * w[b] * (alpha * target + beta * float((q_t * np.log(q_t / q_s)).sum()))
        gradient[b, y] = T * w[b] * alpha * (p_s - p_t)
        gradient[b, rest] = T * w[b] * (beta * (q_s - q_t) - alpha * (p_s - p_t) * q_s)
    return Answer(float(value), {"logits": gradient})


def _parts(u: Array, y: int) -> tuple[float, Array]:
    """p_y and q."""
    e = np.exp(u - u.max())
    rest = np.delete(e, y)
    return float(e[y] / e.sum()), rest / rest.sum()

"""CTKD by hand, from Li et al. 2023, arXiv:2211.16231, with T = T_min + (T_max - T_min) sigmoid(theta).

L = T^2 sum_b w_b K_b, K = sum_c p_t r, r = ln p_t - ln p_s, p = softmax(u), u = z / T; dL/dz_s = T w_b (p_s - p_t).
dK/du_s = p_s - p_t and dK/du_t = p_t (r - K); du/dT = -u / T, so
dL/dT = sum_b w_b (2 T K - T sum_c ((p_s - p_t) u_s + p_t (r - K) u_t)).
theta is given -k dL/dT dT/dtheta, k = (1 - cos(pi min(progress / ramp, 1))) / 2.
"""

import numpy as np

from tests.reference.case import Answer, Array, Case

VARIANTS = [{"ramp": 0.6, "T_start": 2.0, "T_max": 5.0}]


def answer(case: Case) -> Answer:
    spec = case.spec
    w = case.weight / case.weight.sum()
    gate = 1 / (1 + np.exp(-float(case.parameters["theta"])))
    T = spec.T_min + (spec.T_max - spec.T_min) * gate
    value, by_T, gradient = 0.0, 0.0, np.zeros_like(case.student.logits)
    for b in range(len(w)):
        u_s, u_t = case.student.logits[b] / T, case.teacher.logits[b] / T
        p_s, p_t = _softmax(u_s), _softmax(u_t)
        r = np.log(p_t) - np.log(p_s)
        K = float(p_t @ r)
        value += T**2 * w[b] * K
        by_T += w[b] * (2 * T * K - T * float((p_s - p_t) @ u_s + (p_t * (r - K)) @ u_t))
        gradient[b] = T * w[b] * (p_s - p_t)
    k = (1 - np.cos(np.pi * min(case.progress / spec.ramp, 1.0))) / 2
    slope = (spec.T_max - spec.T_min) * gate * (1 - gate)
    return Answer(value, {"logits": gradient, "parameters.theta": np.asarray(-k * by_T * slope)})


def _softmax(u: Array) -> Array:
    e = np.exp(u - u.max())
    return np.asarray(e / e.sum())

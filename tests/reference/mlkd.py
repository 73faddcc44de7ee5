"""MLKD by hand, from Jin et al. 2023, CVPR, the two matrices as means over the batch times those of 64 samples.

With p = softmax(z / T), shares v of the samples, D = p_s p_s^T - p_t p_t^T and E = sum_b v_b (p_s p_s^T - p_t p_t^T)_b:
L = mean over T of T^2 sum_b v_b KL_b + a 64 sum_ij v_i v_j D_ij^2 + c 64^2 / C sum E^2. D and E are symmetric, so
dL/dp_b = 4 a 64 v_b sum_j v_j D_bj p_j + 4 c 64^2 / C v_b E p_b =: h; dL/dz = T v (p_s - p_t) + p (h - sum h p) / T.
"""

import numpy as np

from tests.reference.case import Answer, Array, Case

VARIANTS = [{"temperatures": (1.0,), "samples": 0.5, "classes": 0.0}]


def answer(case: Case) -> Answer:
    a, c, levels = case.spec.samples, case.spec.classes, case.spec.temperatures
    v = case.weight / case.weight.sum()
    B, C = case.student.logits.shape
    value, gradient = 0.0, np.zeros((B, C))
    for T in levels:
        p, t = _softmax(case.student.logits / T), _softmax(case.teacher.logits / T)
        D = np.array([[p[i] @ p[j] - t[i] @ t[j] for j in range(B)] for i in range(B)])
        E = sum((v[b] * (np.outer(p[b], p[b]) - np.outer(t[b], t[b])) for b in range(B)), np.zeros((C, C)))
        value += T**2 * float((v[:, None] * t * np.log(t / p)).sum())
        value += a * 64 * float((np.outer(v, v) * D**2).sum()) + c * 64**2 / C * float((E**2).sum())
        for b in range(B):
            h = 4 * a * 64 * v[b] * (v * D[b]) @ p + 4 * c * 64**2 / C * v[b] * E @ p[b]
            gradient[b] += T * v[b] * (p[b] - t[b]) + p[b] * (h - float(h @ p[b])) / T
    return Answer(value / len(levels), {"logits": gradient / len(levels)})


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))

"""DIST by hand, from Huang et al. 2022, arXiv:2205.10536, the samples of a class by their weights.

With shares v that add up to 1, a' = a - sum v a and s_a^2 = sum v a'^2: r = sum v a' b' / (s_a s_b), and
dr/da_k = v_k (b'_k / (s_a s_b) - r a'_k / s_a^2), for sum v b' = 0. r is 0 where one side is constant.
L = beta sum_b w_b (1 - r_b) + gamma 1/C sum_c (1 - r_c), the second part for two samples of weight or more.
With h = dL/dp, dL/dz_k = p_k (h_k - sum_c h_c p_c) / T.
"""

import numpy as np

from tests.reference.case import Answer, Array, Case


def answer(case: Case) -> Answer:
    T, beta, gamma = case.spec.T, case.spec.beta, case.spec.gamma
    w = case.weight / case.weight.sum()
    p, t = _softmax(case.student.logits / T), _softmax(case.teacher.logits / T)
    B, C = p.shape
    value, h = 0.0, np.zeros_like(p)
    for b in range(B):
        r, slope = _pearson(p[b], t[b], np.full(C, 1 / C))
        value += beta * w[b] * (1 - r)
        h[b] -= beta * w[b] * slope
    if (w > 0).sum() > 1:
        for c in range(C):
            r, slope = _pearson(p[:, c], t[:, c], w)
            value += gamma * (1 - r) / C
            h[:, c] -= gamma * slope / C
    return Answer(value, {"logits": p * (h - (h * p).sum(1, keepdims=True)) / T})


def _pearson(a: Array, b: Array, v: Array) -> tuple[float, Array]:
    """r and its derivative by a."""
    a0, b0 = a - (v * a).sum(), b - (v * b).sum()
    s_a, s_b = np.sqrt((v * a0**2).sum()), np.sqrt((v * b0**2).sum())
    if s_a <= 1e-15 * np.abs(a).max() or s_b <= 1e-15 * np.abs(b).max():
        return 0.0, np.zeros_like(a)
    r = float((v * a0 * b0).sum() / (s_a * s_b))
    return r, v * (b0 / (s_a * s_b) - r * a0 / s_a**2)


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))

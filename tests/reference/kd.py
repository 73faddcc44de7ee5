"""KD by hand, from Hinton, Vinyals, Dean 2015, arXiv:1503.02531, equations 1 to 4.

L = T^2 sum_b w_b sum_c p_t (ln p_t - ln p_s), with weights w that add up to 1 and p = exp(z/T) / sum exp(z/T).
Since dp_c/dz_k = p_c (delta_ck - p_k) / T, dL/dz_s = T w_b (p_s - p_t): equation 2 times T^2.

With `standardize` (Sun et al. 2024, arXiv:2403.01427, algorithm 1) z is (x - m) / d, m and d^2 the mean and variance of
the logits x of one sample over its classes. dz_c/dx_k = (delta_ck - 1/C - z_c z_k / C) / d, so with g = dL/dz
dL/dx = (g - mean(g) - z mean(g z)) / d; 0 where all logits of a sample are equal.
"""

import numpy as np

from tests.reference.case import Answer, Array, Case


def refuses(case: Case) -> bool:
    """Two standardised logits are -1 and 1 whatever they were."""
    return bool(case.spec.standardize) and case.student.logits.shape[1] < 3


def answer(case: Case) -> Answer:
    T = case.spec.T
    w = case.weight / case.weight.sum()
    z_s, z_t = case.student.logits, case.teacher.logits
    if case.spec.standardize:
        z_s, z_t = standardised(z_s), standardised(z_t)
    p_s, p_t = softened(z_s, T), softened(z_t, T)
    inside = p_t > 0  # 0 ln 0 = 0
    ratio = np.where(inside, log_softened(z_t, T) - log_softened(z_s, T), 0.0)
    value = T**2 * (w[:, None] * p_t * ratio).sum()
    gradient = T * w[:, None] * (p_s - p_t)
    if case.spec.standardize:
        gradient = through_standardised(gradient, z_s, case.student.logits)
    return Answer(float(value), {"logits": gradient})


def standardised(x: Array) -> Array:
    d = deviation(x)
    return np.asarray((x - x.mean(1, keepdims=True)) * (d > 0) / np.where(d > 0, d, 1.0))


def deviation(x: Array) -> Array:
    """Of each row, 0 where it is no more than rounding."""
    d = x.std(1, keepdims=True)
    return np.asarray(np.where(d > 1e-15 * np.abs(x).max(1, keepdims=True), d, 0.0))


def through_standardised(g: Array, z: Array, x: Array) -> Array:
    d = deviation(x)
    inner = g - g.mean(1, keepdims=True) - z * (g * z).mean(1, keepdims=True)
    return np.asarray(inner * (d > 0) / np.where(d > 0, d, 1.0))


def softened(z: Array, T: float) -> Array:
    return np.asarray(np.exp(log_softened(z, T)))


def log_softened(z: Array, T: float) -> Array:
    shifted = z / T - (z / T).max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

"""Cosine similarities by hand, pair by pair (the kernel of Passalis, Tefas 2018, arXiv:1803.10837, section 3).

L = sum_{i != j} v_ij (c_s^ij - c_t^ij)^2 with v_ij = w_i w_j over their sum. With u = e / |e|, c^ij = u_i . u_j and
dc^ij/de_i = (u_j - c^ij u_i) / |e_i|. A vector of length 0 has c = 0 with all, and no derivative is taken.
"""

import numpy as np

from tests.reference.case import Answer, Array, Case


def answer(case: Case) -> Answer:
    e, w = case.student.embedding, case.weight
    B = len(e)
    total = sum(w[i] * w[j] for i in range(B) for j in range(B) if i != j)
    value, gradient = 0.0, np.zeros_like(e)
    for i in range(B):
        for j in range(B):
            if i == j or total == 0:
                continue
            v = w[i] * w[j] / total
            c_s, c_t = _cosine(e[i], e[j]), _cosine(case.teacher.embedding[i], case.teacher.embedding[j])
            value += v * (c_s - c_t) ** 2
            gradient[i] += 2 * v * (c_s - c_t) * _slope(e[i], e[j])
            gradient[j] += 2 * v * (c_s - c_t) * _slope(e[j], e[i])
    return Answer(float(value), {"embedding": gradient})


def _cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 0 else 0.0


def _slope(a: Array, b: Array) -> Array:
    """The derivative of cos(a, b) by a."""
    la, lb = np.linalg.norm(a), np.linalg.norm(b)
    if la == 0 or lb == 0:
        return np.zeros_like(a)
    return np.asarray((b / lb - _cosine(a, b) * a / la) / la)

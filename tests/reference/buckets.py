"""The chain rule that the losses on token distributions share, one sample after the other.

Classes fall into groups: each of the teacher's k largest logits alone (all that are tied with the k-th), the others
together. With p = softmax(z / T) and S_j the sum of p over group j, L = sum_b w_b scale sum_j f(T_j, S_j), and with
h_j = df/dS_j: dL/dz_k = w_b scale p_k (h_{j(k)} - sum_i h_{j(i)} p_i) / T.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Array, Case

#: From the groups' shares (teacher, student) to f and df/dS of each.
Divergence = Callable[[Array, Array], tuple[Array, Array]]


def by_groups(case: Case, divergence: Divergence, scale: float) -> Answer:
    T = case.spec.T
    w = case.weight / case.weight.sum()
    value, gradient = 0.0, np.zeros_like(case.student.logits)
    for b, (z_s, z_t) in enumerate(zip(case.student.logits, case.teacher.logits, strict=True)):
        p_s, p_t = _softmax(z_s / T), _softmax(z_t / T)
        group = _groups(z_t, case.spec.top_k or len(z_t))
        share_s, share_t = (np.asarray(np.bincount(group, p), float) for p in (p_s, p_t))
        f, h = divergence(share_t, share_s)
        value += w[b] * scale * float(f.sum())
        slope = h[group]
        gradient[b] = w[b] * scale * p_s * (slope - float((slope * p_s).sum())) / T
    return Answer(value, {"logits": gradient})


def _groups(z_t: Array, k: int) -> NDArray[np.intp]:
    """The number of each class's group."""
    alone = z_t >= np.sort(z_t)[::-1][min(k, len(z_t)) - 1]
    return np.asarray(np.where(alone, np.cumsum(alone) - 1, alone.sum()), np.intp)


def _softmax(u: Array) -> Array:
    e = np.exp(u - u.max())
    return np.asarray(e / e.sum())

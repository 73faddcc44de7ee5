"""Relational distillation from Park et al. 2019, arXiv:1904.05068, equations 3 to 8, all triples at once.

psi_D = |e_i - e_j| / mu (equation 4), psi_A = <u_ij, u_kj> with u_ij = (e_i - e_j) / |e_i - e_j| (equation 6), both
under h (equation 3) and averaged over pairs and triples of different samples, v = w_i w_j (w_k) over their sum.
Derivatives are taken by complex steps; coinciding samples have distance and cosine 0 and none is taken there.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.steps import Moving, unit
from tests.reference.steps import answer as by_steps

VARIANTS = [{"angle": 0.0}, {"distance": 0.0}]


def answer(case: Case) -> Answer:
    w = case.weight
    B = len(w)
    differ = 1 - np.eye(B)
    v2 = _over_sum(differ * w[:, None] * w)
    v3 = _over_sum(differ[:, :, None] * differ[None] * differ[:, None] * w[:, None, None] * w[:, None] * w)

    def value(at: Moving) -> Any:
        e, f = at["embedding"], case.teacher.embedding
        distances = (v2 * _huber(_relative(e, v2) - _relative(f, v2))).sum()
        angles = (v3 * _huber(_cosines(e) - _cosines(f))).sum()
        return case.spec.distance * distances + case.spec.angle * angles

    return by_steps(case, ["embedding"], value)


def _over_sum(v: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(v / v.sum() if v.sum() > 0 else v)


def _huber(x: NDArray[Any]) -> NDArray[Any]:
    sign = np.sign(x.real)
    return np.asarray(np.where(sign * x.real <= 1, x * x / 2, sign * x - 0.5))


def _relative(e: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    apart = e[:, None] - e[None]
    square = (apart * apart).sum(-1)
    d = np.where(square.real > 0, np.sqrt(np.where(square.real > 0, square, 1.0)), 0.0)
    mean = (v * d).sum()
    return np.asarray(d / mean if mean.real > 0 else 0 * d)


def _cosines(e: NDArray[Any]) -> NDArray[Any]:
    u = unit(e[:, None] - e[None])  # u[i, j] points from j to i
    return np.asarray(np.einsum("ijd,kjd->ijk", u, u))

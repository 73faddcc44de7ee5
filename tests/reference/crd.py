"""Contrastive distillation by hand, from Tian et al. 2020, arXiv:1910.10699, equations 10 and 19.

v = u / |u| with u = W e + a for either side, so dL/du = (g - (g . v) v) / |u| where g = dL/dv; dL/dW = sum u' e^T,
dL/da = sum u', dL/de = W^T u'.

Form batch: c = v_s v_t^T / tau; p_ij = w_j e^c_ij / sum_k w_k e^c_ik. L = sum_i w_i (log sum_j w_j e^c_ij - c_ii), and
the same by columns, halved; dL/dc_ij = w_i (p_ij - [i = j]) / 2 + w_j (q_ij - [i = j]) / 2.

Form bank: h(c) = e^c / (e^c + K Z / M). -log h has the derivative h - 1, -log(1 - h) the derivative h. Rows of noise
are splitmix64 (Steele, Lea, Flood 2014) of salt + k, modulo M, in unsigned integers and by its definition.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Array, Case

VARIANTS = [{"form": "bank", "negatives": 3, "dim": 5, "tau": 0.5}, {"dim": 3, "tau": 0.2}]


def answer(case: Case) -> Answer:
    w = case.weight / case.weight.sum()
    s, t = (_Embedded(case, side) for side in ("student", "teacher"))
    contrast = _batch if case.spec.form == "batch" else _bank
    value, g_s, g_t = contrast(case, w, s.unit, t.unit)
    embedding, of_student = s.back(g_s)
    return Answer(value, {"embedding": embedding} | of_student | t.back(g_t)[1])


class _Embedded:
    """One side: the embedding through its layer, over its length."""

    def __init__(self, case: Case, side: str) -> None:
        self.e, self.side = getattr(case, side).embedding, side
        self.W, a = (case.parameters[f"{side}.{part}"] for part in ("weight", "bias"))
        u = self.e @ self.W.T + a
        self.length = np.sqrt((u * u).sum(1, keepdims=True))
        self.unit = u / self.length

    def back(self, g: Array) -> tuple[Array, dict[str, Array]]:
        """The derivatives by the embedding and by the layer."""
        by_u = (g - (g * self.unit).sum(1, keepdims=True) * self.unit) / self.length
        name = f"parameters.{self.side}"
        return by_u @ self.W, {f"{name}.weight": by_u.T @ self.e, f"{name}.bias": by_u.sum(0)}


def _batch(case: Case, w: Array, s: Array, t: Array) -> tuple[float, Array, Array]:
    tau = case.spec.tau
    c = s @ t.T / tau
    value, by_c = 0.0, np.zeros_like(c)
    for turned in (False, True):
        x = c.T if turned else c
        top = x.max(1, keepdims=True)
        e = w[None, :] * np.exp(x - top)
        total = e.sum(1, keepdims=True)
        value += float(w @ (np.log(total) + top)[:, 0] - w @ np.diag(x)) / 2
        g = w[:, None] * (e / total - np.eye(len(w))) / 2
        by_c += g.T if turned else g
    return value, by_c @ t / tau, by_c.T @ s / tau


def _bank(case: Case, w: Array, s: Array, t: Array) -> tuple[float, Array, Array]:
    to_s = _against(case, w, s, case.parameters["banks.of_teacher"], case.parameters["banks.log_z"][0])
    to_t = _against(case, w, t, case.parameters["banks.of_student"], case.parameters["banks.log_z"][1])
    return to_s[0] + to_t[0], to_s[1], to_t[1]


def _against(case: Case, w: Array, v: Array, bank: Array, log_mean: float) -> tuple[float, Array]:
    """The samples' ids are their rows: the tests prepare a loss for ids 0, 1, 2 ..."""
    tau, K = case.spec.tau, case.spec.negatives
    noise = bank[_rows(case, K, len(bank))]
    own = bank[case.ids]
    floor = K * np.exp(log_mean)
    e_own, e_noise = np.exp((v * own).sum(1) / tau), np.exp(v @ noise.T / tau)
    h_own, h_noise = e_own / (e_own + floor), e_noise / (e_noise + floor)
    value = w @ (-np.log(h_own) - np.log(floor / (e_noise + floor)).sum(1))
    g = w[:, None] * ((h_own - 1)[:, None] * own + h_noise @ noise) / tau
    return float(value), g


def _rows(case: Case, K: int, M: int) -> NDArray[np.int64]:
    key = int.from_bytes(blake2b(f"0/noise/{case.progress!r}".encode(), digest_size=8).digest(), "big") >> 1
    h = np.arange(K, dtype=np.uint64) + np.uint64(int(case.parameters["banks.salt"]) + 1)
    h = h * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((h ^ (h >> np.uint64(31))) >> np.uint64(1)) % np.uint64(M)).astype(np.int64)

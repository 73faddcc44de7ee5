"""Masked generation from Yang et al. 2022, arXiv:2205.01529, equations 2 to 5, by complex steps.

G(x) = W2 * relu(W1 * x), 3x3 convolutions with one row of zeros around. A place is hidden where splitmix64 (Steele,
Lea, Flood 2014) of its number, read as 63 bits, is below the masked share; here in unsigned integers and by its
definition.
"""

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.maps import convolved
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("narrow",)
VARIANTS = [{"masked": 0.0}]
_WORD = (1 << 64) - 1


def answer(case: Case) -> Answer:
    w = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, pair in enumerate(case.spec.taps):
            s, t = at[f"features.{pair.student}"], case.teacher.features[pair.teacher]
            W, a = at[f"parameters.projectors.{n}.weight"], at[f"parameters.projectors.{n}.bias"]
            x = np.einsum("oc,bchw->bohw", W[:, :, 0, 0], s) + a[None, :, None, None]
            x = x * _seen(case, n, s.shape[2:])
            x = convolved(x, *(at[f"parameters.generators.{n}.0.{part}"] for part in ("weight", "bias")))
            x = np.where(x.real > 0, x, 0.0)
            x = convolved(x, *(at[f"parameters.generators.{n}.2.{part}"] for part in ("weight", "bias")))
            total += w * ((x - t) ** 2).mean((1, 2, 3))
        return total / len(case.spec.taps)

    moving = [name for name in parameters(case) if name != "parameters.salt"]
    return by_steps(case, students(case) + moving, value)


def _seen(case: Case, n: int, size: tuple[int, ...]) -> NDArray[Any]:
    key = int.from_bytes(blake2b(f"{n}/mask/{case.progress!r}".encode(), digest_size=8).digest(), "big") >> 1
    P = size[0] * size[1]
    salt = int(case.parameters["salt"])
    numbers = [[_splitmix(int(i) * P + p + salt, key) / 2**63 for p in range(P)] for i in case.ids]
    seen = np.array(numbers) >= case.spec.masked
    return np.asarray(seen.reshape(-1, 1, *size).astype(float))


def _splitmix(number: int, key: int) -> int:
    h = ((number + 1) * 0x9E3779B97F4A7C15 + key) & _WORD
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _WORD
    return (h ^ (h >> 31)) >> 1

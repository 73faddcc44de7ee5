"""Knowledge review from Chen et al. 2021, arXiv:2104.09044, section 3, by complex steps.

From the last tap to the first: x = A s; y = x at the last, and a x + b up(y) at the others, with (a, b) =
1 / (1 + e^-W[x,y]); up takes place floor(i h / H) for place i. HCL(O y, t) = sum_l v_l mean (p_l(O y) - p_l(t))^2 /
sum_l v_l, p_l an average over the places from floor(i H / l) to ceil((i + 1) H / l), at full size and l = 4, 2, 1 where
that is smaller.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.maps import convolved
from tests.reference.steps import Moving, parameters, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("oblong", "later", "vector")
VARIANTS = [{"ramp": 0.6}, {"width": 2}]

X = NDArray[Any]


def answer(case: Case) -> Answer:
    w, ramp = shares(case), case.spec.ramp

    def value(at: Moving) -> Any:
        total: Any = 0.0
        y: Any = None
        for n in reversed(range(len(case.spec.taps))):
            pair = case.spec.taps[n]
            s, t = _map(at[f"features.{pair.student}"]), _map(case.teacher.features[pair.teacher])
            x = _convolved(at, f"inward.{n}", s)
            if y is None:
                y = x
            else:
                y = _enlarged(y, x.shape[2], x.shape[3])
                a = 1 / (1 + np.exp(-_convolved(at, f"attention.{n}", np.concatenate([x, y], 1))))
                y = a[:, :1] * x + a[:, 1:] * y
            total += w * _context(_convolved(at, f"outward.{n}", y), t)
        return min(1.0, case.progress / ramp) * total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)


def _map(x: X) -> X:
    return x.reshape(*x.shape, 1, 1) if x.ndim == 2 else x


def _convolved(at: Moving, name: str, x: X) -> X:
    return convolved(x, at[f"parameters.{name}.weight"], at[f"parameters.{name}.bias"])


def _enlarged(y: X, H: int, W: int) -> X:
    rows, columns = ([i * have // want for i in range(want)] for have, want in ((y.shape[2], H), (y.shape[3], W)))
    return y[:, :, rows][:, :, :, columns]


def _context(s: X, t: X) -> X:
    H, W = s.shape[2:]
    sizes = [(H, W)] + [(min(k, H), min(k, W)) for k in (4, 2, 1) if k < max(H, W)]
    total: Any = 0.0
    for level, size in enumerate(sizes):
        total += 2.0**-level * ((_averaged(s, *size) - _averaged(t, *size)) ** 2).mean((1, 2, 3))
    return np.asarray(total / sum(2.0**-level for level in range(len(sizes))))


def _averaged(x: X, h: int, w: int) -> X:
    """Every mean as a product with what each place gives to it."""
    return np.asarray(np.einsum("bchw,ih,jw->bcij", x, _bins(x.shape[2], h), _bins(x.shape[3], w)))


def _bins(have: int, want: int) -> NDArray[np.float64]:
    part = np.zeros((want, have))
    for i in range(want):
        first, last = i * have // want, -(-(i + 1) * have // want)
        part[i, first:last] = 1 / (last - first)
    return part

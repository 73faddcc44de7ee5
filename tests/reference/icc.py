"""Inter-channel correlation from Liu et al. 2021, arXiv:2202.03680, equations 2 to 4, by complex steps.

G_cd = sum_p F_cp F_dp, rows over their length; the squared differences summed over a row and averaged over rows.
"""

from typing import Any

from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.maps import pairs, projected
from tests.reference.steps import Moving, parameters, shares, students, unit
from tests.reference.steps import answer as by_steps

TAPS = ("map", "even", "tokens")


def answer(case: Case) -> Answer:
    v = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for n, (s, t) in enumerate(pairs(case, at)):
            total += v * ((_rows(projected(case, at, n, s)) - _rows(t)) ** 2).sum(2).mean(1)
        return total / len(case.spec.taps)

    return by_steps(case, students(case) + parameters(case), value)


def _rows(x: NDArray[Any]) -> NDArray[Any]:
    return unit((x[:, :, None] * x[:, None]).sum(3))

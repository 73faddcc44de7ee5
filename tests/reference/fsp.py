"""Flow of solution procedure from Yim et al. 2017, CVPR, equations 1 and 2, entries averaged, by complex steps."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Case
from tests.reference.maps import pooled
from tests.reference.steps import Moving, shares, students
from tests.reference.steps import answer as by_steps

TAPS = ("even", "later")


def answer(case: Case) -> Answer:
    v = shares(case)

    def value(at: Moving) -> Any:
        total: Any = 0.0
        for one, two in pairwise(case.spec.taps):
            s = _flow(at[f"features.{one.student}"], at[f"features.{two.student}"])
            t = _flow(case.teacher.features[one.teacher], case.teacher.features[two.teacher])
            total += v * ((s - t) ** 2).mean((1, 2))
        return total / (len(case.spec.taps) - 1)

    return by_steps(case, students(case), value)


def _flow(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    p, q = pooled(x, y), pooled(y, x)
    return np.asarray((p[:, :, None] * q[:, None]).mean(3))

"""Derivatives of a value that is written down in numpy, by complex steps.

f(x + ih) = f(x) + i h f'(x) + O(h^2), so f'(x) = Im f(x + ih) / h (Squire, Trapp 1998, "Using complex variables to
estimate derivatives of real functions"). Nothing is subtracted, so h may be 1e-30 and the result is exact to rounding:
unlike a difference quotient it is as good as a derivative by hand. The value must be analytic where it is taken: no
`abs` and no `norm` of what moves, and comparisons on real parts alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Answer, Array, Case

#: What moves, by the names of `Answer.gradient`; complex while a step is taken.
Moving = dict[str, NDArray[Any]]

_STEP = 1e-30


def answer(case: Case, moving: list[str], value: Callable[[Moving], Any]) -> Answer:
    """The value where the case is, and its derivatives by everything named.

    `value` gives a number, or (B,) each sample's part of it where a sample's outputs move its own part alone: then one
    step moves all samples at once.
    """
    at: Moving = {name: _where(case, name).astype(np.complex128) for name in moving}
    start = np.asarray(value(at))
    gradient = {name: np.zeros(x.shape) for name, x in at.items()}
    for name, x in at.items():
        apart = start.ndim == 1 and not name.startswith("parameters.")
        for index in np.ndindex(x.shape[1:] if apart else x.shape):
            here = (slice(None), *index) if apart else index
            x[here] += 1j * _STEP
            moved = np.asarray(value(at)).imag / _STEP
            gradient[name][here] = moved if apart else moved.sum()
            x[here] = x[here].real
    return Answer(float(start.real.sum()), gradient)


def students(case: Case) -> list[str]:
    """The names of the student's features that the case's spec reads."""
    return [f"features.{pair.student}" for pair in case.spec.taps]


def parameters(case: Case) -> list[str]:
    """The names of all parameters of the loss."""
    return [f"parameters.{name}" for name in case.parameters]


def unit(x: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """x over its length, 0 where it has none."""
    square = (x * x).sum(axis, keepdims=True)
    there = square.real > 0
    return np.asarray(np.where(there, x / np.sqrt(np.where(there, square, 1.0)), 0.0))


def shares(case: Case) -> Array:
    """Each sample's part of the batch."""
    return np.asarray(case.weight / case.weight.sum())


def _where(case: Case, name: str) -> Array:
    kind, _, rest = name.partition(".")
    if kind == "parameters":
        return case.parameters[rest]
    return case.student.features[rest] if kind == "features" else np.asarray(getattr(case.student, kind))

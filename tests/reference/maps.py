"""Features brought to the same places and to one width, in numpy; anything here may be complex."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.case import Array, Case
from tests.reference.steps import Moving

X = NDArray[Any]


def pairs(case: Case, at: Moving) -> list[tuple[X, X]]:
    """Student's and teacher's features of each pair of taps, (B, channels, places), with the same places."""
    found = []
    for pair in case.spec.taps:
        s, t = at[f"features.{pair.student}"], case.teacher.features[pair.teacher]
        found.append((pooled(s, t), pooled(t, s)))
    return found


def pooled(x: X, other: X) -> X:
    """x as (B, channels, places): a map averaged over blocks down to the smaller one, or over all for a vector."""
    if x.ndim == 2:
        return x[:, :, None]
    if x.ndim == 3:
        return np.asarray(x.transpose(0, 2, 1))
    if other.ndim == 2:
        return np.asarray(x.mean((2, 3))[:, :, None])
    B, C, H, W = x.shape
    h, w = min(H, other.shape[2]), min(W, other.shape[3])
    assert H % h == 0
    assert W % w == 0
    return np.asarray(x.reshape(B, C, h, H // h, w, W // w).mean((3, 5)).reshape(B, C, h * w))


def projected(case: Case, at: Moving, n: int, s: X, module: str = "projectors") -> X:
    """W s + a at each place, with the parameters of the n-th projector; s itself where there is none."""
    if f"{module}.{n}.weight" not in case.parameters:
        return s
    W, a = at[f"parameters.{module}.{n}.weight"], at[f"parameters.{module}.{n}.bias"]
    return np.asarray(np.matmul(W.reshape(W.shape[:2]), s) + a[None, :, None])


def standardised(x: X, w: Array) -> X:
    """(x - m) / sqrt(v + 1e-5), mean and variance of each channel of (B, channels, places) over samples and places."""
    v = w[:, None, None] / x.shape[2]
    centred = x - (v * x).sum((0, 2), keepdims=True)
    return np.asarray(centred / np.sqrt((v * centred * centred).sum((0, 2), keepdims=True) + 1e-5))


def convolved(x: X, W: X, a: X) -> X:
    """A convolution of (B, C, H, W) with an odd kernel, zeros around, as many places as before."""
    k = W.shape[2] // 2
    _, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (k, k), (k, k)))
    total: Any = 0.0
    for i in range(W.shape[2]):
        for j in range(W.shape[3]):
            total += np.einsum("oc,bchw->bohw", W[:, :, i, j], padded[:, :, i : i + height, j : j + width])
    return np.asarray(total + a[None, :, None, None])

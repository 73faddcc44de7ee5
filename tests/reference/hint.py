"""Hints by hand, from Romero et al. 2015, arXiv:1412.6550, equation 3, with a mean where the paper has half a sum.

For one tap, L = sum_b w_b mean_{c,place} (r - t)^2, r = W s + a at each place. With g = 2 w_b (r - t) / (C places):
dL/dW = sum g s^T, da = sum g, ds = W^T g. The job's value is the mean over taps. Maps of unlike size are averaged
over blocks first, which hands each place of a block an equal share of the gradient; a map that meets a vector is
averaged over all places.
"""

import numpy as np

from tests.reference.case import Answer, Array, Case


def answer(case: Case) -> Answer:
    w = case.weight / case.weight.sum()
    value, gradient = 0.0, dict[str, Array]()
    taps = len(case.spec.taps)
    for n, pair in enumerate(case.spec.taps):
        full_s, full_t = case.student.features[pair.student], case.teacher.features[pair.teacher]
        s, t = _pooled(full_s, full_t), _pooled(full_t, full_s)
        W = case.parameters[f"projectors.{n}.weight"]
        a = case.parameters[f"projectors.{n}.bias"]
        matrix = W.reshape(W.shape[0], W.shape[1])
        r = np.einsum("oc,bcp->bop", matrix, s) + a[None, :, None]
        share = 1 / (t.shape[1] * t.shape[2])
        value += float((w[:, None, None] * (r - t) ** 2).sum()) * share / taps
        g = 2 * w[:, None, None] * (r - t) * share / taps
        gradient[f"parameters.projectors.{n}.weight"] = np.einsum("bop,bcp->oc", g, s).reshape(W.shape)
        gradient[f"parameters.projectors.{n}.bias"] = g.sum((0, 2))
        gradient[f"features.{pair.student}"] = _spread(np.einsum("oc,bop->bcp", matrix, g), full_s)
    return Answer(value, gradient)


def _pooled(x: Array, other: Array) -> Array:
    """x as (B, C, places), its places averaged down to those that both have."""
    if x.ndim == 2:
        return x[:, :, None]
    if other.ndim == 2:
        return np.asarray(x.mean((2, 3))[:, :, None])
    h, w = min(x.shape[2], other.shape[2]), min(x.shape[3], other.shape[3])
    assert x.shape[2] % h == 0
    assert x.shape[3] % w == 0
    B, C, H, W = x.shape
    return np.asarray(x.reshape(B, C, h, H // h, w, W // w).mean((3, 5)).reshape(B, C, h * w))


def _spread(g: Array, x: Array) -> Array:
    """The gradient by the places of x, from that by the averages of its blocks."""
    if x.ndim == 2:
        return g[:, :, 0]
    B, C, H, W = x.shape
    if g.shape[2] == 1:
        return np.broadcast_to(g[:, :, :, None] / (H * W), x.shape).copy()
    h = next(h for h in range(1, H + 1) if H % h == 0 and g.shape[2] % h == 0 and W * h * h == H * g.shape[2])
    block = g.reshape(B, C, h, g.shape[2] // h)
    rows, columns = H // h, W // block.shape[3]
    return np.asarray(block.repeat(rows, 2).repeat(columns, 3) / (rows * columns))

"""Batch norm as a compiler can join it to what stands around it, for networks that are compiled for a CPU.

torch's own kernels compute it alone, and the compiler's take of it is no faster. By these formulas one pass over the
map gives the sums of each sample and one more the outputs, with the ReLU and the shortcut behind it, and likewise
backwards. Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1 and the gradients below it.
Shapes: N samples, C channels, H x W places.
"""

from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """Computes by these formulas while it trains and is compiled, and else as torch does. It has the same state."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), of any layout and float type."""
        count = x.numel() // x.shape[1]
        if not (self.training and torch.compiler.is_compiling()) or count < 2:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None  # noqa: PT018
        assert self.num_batches_tracked is not None and self.momentum is not None  # noqa: PT018
        said, mean_C, var_C = _Normalised.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps
        )
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(var_C * (count / (count - 1)), self.momentum)
        out: Tensor = said
        return out


def join(module: nn.Module) -> None:
    """Has all batch norms of the module that can compute so do it, once compiled. Names and state stay as they are."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d and part.affine and part.track_running_stats and part.momentum is not None:
            part.__class__ = BatchNorm


class _Normalised(torch.autograd.Function):
    """The outputs, and the batch's mean and variance over samples and places, which have no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        # Sums of squares about the first sample's mean: about zero, a mean far from it leaves nothing of the variance.
        count, near_C = x.numel() // x.shape[1], x[0].float().mean((1, 2))
        off = x.float() - _on_map(near_C)
        off_C = _summed(off) / count
        var_C = (_summed(off * off) / count - off_C * off_C).clamp_min(0)
        mean_C, inverse_C = near_C + off_C, torch.rsqrt(var_C + eps)
        ctx.save_for_backward(x, weight_C, mean_C, inverse_C)
        ctx.mark_non_differentiable(mean_C, var_C)
        scale_C = weight_C * inverse_C
        said = (x.float() - _on_map(mean_C)) * _on_map(scale_C) + _on_map(bias_C)
        return said.to(x.dtype), mean_C, var_C

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_none: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight_C, mean_C, inverse_C = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        off, wide = x.float() - _on_map(mean_C), grad.float()
        bias_grad_C, weight_grad_C = _summed(wide), _summed(wide * off) * inverse_C
        slope_C = inverse_C * weight_grad_C / count
        back = (wide - _on_map(bias_grad_C / count) - off * _on_map(slope_C)) * _on_map(weight_C * inverse_C)
        return back.to(x.dtype), weight_grad_C, bias_grad_C, None


def _summed(x: Tensor) -> Tensor:
    """(N, C, H, W) to (C,). Samples apart at first, which is what threads are given to do."""
    return x.sum((2, 3)).sum(0)


def _on_map(x_C: Tensor) -> Tensor:
    return x_C[:, None, None]

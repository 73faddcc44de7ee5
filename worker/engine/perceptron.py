"""A perceptron's forward and backward pass by formula.

Its products are so small that autograd takes longer to record and to follow them than they take themselves. Values and
gradients are those that autograd gives, bit by bit on a CPU.
Shapes: N samples, D inputs, H of a hidden layer, C outputs.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn


class Perceptron:
    """Linear layers with ReLU between them, all of which are trained."""

    def __init__(self, chain: Sequence[nn.Linear]) -> None:
        self._layers = [(layer.weight, layer.bias) for layer in chain]

    def __call__(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], None]]:
        """The logits (N, C) of x (N, ...), and what adds to all parameters the gradient that follows from theirs.

        The logits are a leaf of autograd's graph: what is made of them may be followed back to them, and no further.
        """
        *hidden, (weight_CH, bias_C) = self._layers
        with torch.no_grad():
            inputs = [x.flatten(1)]
            for weight_HD, bias_H in hidden:
                inputs.append(torch.addmm(bias_H, inputs[-1], weight_HD.t()).relu_())
            logits_NC = torch.addmm(bias_C, inputs[-1], weight_CH.t())
        return logits_NC.requires_grad_(), partial(self._go_back, inputs)

    def _go_back(self, inputs: list[Tensor], grad_NC: Tensor) -> None:
        grad_NH = grad_NC
        with torch.no_grad():
            for at in range(len(inputs) - 1, -1, -1):
                weight_HD, bias_H = self._layers[at]
                _add(weight_HD, grad_NH.t().mm(inputs[at]))
                _add(bias_H, grad_NH.sum(0))
                if at:
                    grad_NH = torch.ops.aten.threshold_backward(grad_NH.mm(weight_HD), inputs[at], 0)


def _add(parameter: Tensor, grad: Tensor) -> None:
    parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)

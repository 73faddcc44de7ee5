"""Optimizers, and learning rates as pure functions of the step.

Weight decay acts on every trained parameter, projectors, biases and norm scales included: as torch.optim does it, and
as the recipes behind the published tables did. Fused kernels are used wherever torch has them.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import cos, pi
from typing import Any

import torch
from torch import nn

from models.spec import training as menu

Schedule = menu.Schedule


def make_optimizer(spec: menu.Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer, at its full learning rate; the loop sets the rate of each step."""
    parameters = [p for p in parameters if p.requires_grad]
    fused = {p.device.type for p in parameters} <= {"cpu", "cuda"}
    match spec:
        case menu.SGD():
            return torch.optim.SGD(
                parameters,
                spec.lr,
                momentum=spec.momentum,
                nesterov=spec.nesterov,
                weight_decay=spec.weight_decay,
                fused=fused,
            )
        case menu.Adam():
            return torch.optim.Adam(
                parameters, spec.lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, fused=fused
            )
        case menu.AdamW():
            return torch.optim.AdamW(
                parameters, spec.lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, fused=fused
            )


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The optimizer's step; once it has a state for all that it moves, by a call of the fused kernel and no more.

    What torch wraps around that (a record for profilers, hooks, lists by device and type) takes longer than the step of
    a small network.
    """
    step = type(optimizer).step
    whole = partial(getattr(step, "__wrapped__", step), optimizer)

    def moved() -> None:
        # Looked up each time: a state that is loaded takes the place of these.
        (group,) = optimizer.param_groups
        grads = [parameter.grad for parameter in group["params"]]
        states = [optimizer.state.get(parameter) for parameter in group["params"]]
        if not group["fused"] or any(grad is None for grad in grads) or not all(states):
            whole()
            return
        with torch.no_grad():
            (_move_by_sgd if isinstance(optimizer, torch.optim.SGD) else _move_by_adam)(group, grads, states)

    return moved


def rate(schedule: Schedule, base: float, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of one step, 0 to steps - 1.

    During the warm-up it climbs in equal parts and reaches the full rate with its last step; the schedule then runs
    over the steps that are left.
    """
    warm = min(round(schedule.warmup_epochs * steps_per_epoch), steps - 1)
    if step < warm:
        return base * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return base * _factor(schedule, done, step / steps)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The rate of the next step, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _move_by_sgd(group: dict[str, Any], grads: list[Any], states: list[Any]) -> None:
    torch._fused_sgd_(
        group["params"],
        grads,
        [state["momentum_buffer"] for state in states],
        lr=group["lr"],
        momentum=group["momentum"],
        nesterov=group["nesterov"],
        weight_decay=group["weight_decay"],
        dampening=0.0,
        maximize=False,
        is_first_step=False,
    )


def _move_by_adam(group: dict[str, Any], grads: list[Any], states: list[Any]) -> None:
    steps = [state["step"] for state in states]
    torch._foreach_add_(steps, 1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    beta1, beta2 = group["betas"]
    kernel(
        group["params"],
        grads,
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        eps=group["eps"],
        weight_decay=group["weight_decay"],
        amsgrad=False,
        maximize=False,
    )


def _factor(schedule: Schedule, done: float, of_run: float) -> float:
    """What is left of the rate; `done` counts from the end of the warm-up, `of_run` from the start."""
    match schedule:
        case menu.Constant():
            return 1.0
        case menu.Cosine():
            return schedule.final + (1 - schedule.final) * (1 + cos(pi * done)) / 2
        case menu.Step():
            return float(schedule.gamma ** sum(of_run >= milestone for milestone in schedule.milestones))

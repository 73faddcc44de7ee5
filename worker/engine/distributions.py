"""What several losses on distributions do to logits.

Shapes: N samples or tokens, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def others(logits_NC: Tensor, y_N: Tensor) -> Tensor:
    """The logits of all classes but the sample's own, (N, C - 1), in their order.

    They are taken out, not lowered by a large number: that would leave a rest, or hide what logits of 1e4 say.
    """
    index = torch.arange(logits_NC.shape[1] - 1, device=logits_NC.device).expand(len(logits_NC), -1)
    return logits_NC.gather(1, index + (index >= y_N[:, None]).to(index.dtype))


def kl(log_p_NC: Tensor, log_q_NC: Tensor) -> Tensor:
    """KL(p || q) of each sample, (N,), from the logarithms of both."""
    return F.kl_div(log_q_NC, log_p_NC, reduction="none", log_target=True).sum(1)


def buckets(student_NC: Tensor, teacher_NC: Tensor, top_k: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of both, (N, C) or (N, C + 1), and a mask of those that take part.

    With `top_k` less than C, the classes with the teacher's k largest logits (all of them where some are tied, so that
    no order among equals matters), and in the last column the rest as one: what is cut off keeps its mass, and both
    sides still add up to 1.
    """
    log_s_NC, log_t_NC = F.log_softmax(student_NC, dim=1), F.log_softmax(teacher_NC, dim=1)
    if top_k is None or top_k >= teacher_NC.shape[1]:
        return log_s_NC, log_t_NC, torch.ones_like(log_t_NC, dtype=torch.bool)
    kept_NC = teacher_NC >= teacher_NC.topk(top_k, dim=1).values[:, -1:]
    has_rest_N1 = ~kept_NC.all(1, keepdim=True)
    # Where nothing is left over, the last column is the sum of all: a number, which the mask leaves out.
    hidden_NC = kept_NC & has_rest_N1
    log_s, log_t = (
        torch.cat([x, x.masked_fill(hidden_NC, -torch.inf).logsumexp(1, keepdim=True)], dim=1)
        for x in (log_s_NC, log_t_NC)
    )
    return log_s, log_t, torch.cat([kept_NC, has_rest_N1], dim=1)


def total(value: Tensor, inside: Tensor) -> Tensor:
    """The sum over those that take part, (N,)."""
    return torch.where(inside, value, 0.0).sum(1)

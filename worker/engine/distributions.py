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

"""Channel-wise distillation: each channel's map as a distribution over places, compared by its divergence.

Shu et al. 2021, arXiv:2011.13256, equations 3 to 5. The student goes through a 1x1 convolution where the widths differ;
the larger map is averaged down. Sequences have tokens for places.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term


class CWD(Term):
    """T^2 KL(p_t || p_s), summed over places, averaged over channels, samples and then taps."""

    def __init__(self, spec: menu.CWD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.T, self.pairs = spec.T, align.paired(spec.taps)
        align.refuse_vectors("cwd", self.pairs, student, teacher)
        self.projectors = align.connectors(self.pairs, student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where every channel is large at the same places."""
        values = []
        for pair, projector in zip(self.pairs, self.projectors, strict=True):
            s, t = align.read(pair, student, teacher)
            log_s_NCP, log_t_NCP = (F.log_softmax(align.places(x) / self.T, 2) for x in (projector(s), t))
            kl_NC = F.kl_div(log_s_NCP, log_t_NCP, reduction="none", log_target=True).sum(2)
            values.append(self.T**2 * batch.mean(kl_NC.mean(1)))
        return torch.stack(values).mean()

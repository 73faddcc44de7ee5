"""The logarithm of a fourth power between normalised embeddings, the student's through one linear layer.

Miles, Mikolajczyk 2024, "Understanding the role of the projector in knowledge distillation", arXiv:2303.11098, equation
7. The paper's logarithm has no least value; here it is taken of 1 + mean / 1e-6, which has the same gradient but close
to agreement, and is 0 there.
"""

import torch
from torch import Tensor, nn

from models.spec.losses import feature as menu
from worker.engine.lengths import standardised
from worker.engine.outputs import Batch, Outputs, embeddings
from worker.engine.term import Term

_FLOOR = 1e-6


class SRD(Term):
    """log(1 + mean((n(W e_s) - n(e_t))^4) / 1e-6), n over the batch."""

    min_batch = 2

    def __init__(self, _spec: menu.SRD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        s_ND, t_ND = embeddings(student, teacher)
        # The mean that is taken off would undo a bias.
        self.projector = nn.Linear(s_ND.shape[1], t_ND.shape[1], bias=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where the normalised embeddings agree."""
        s_ND, t_ND = embeddings(student, teacher)
        difference_ND = standardised(self.projector(s_ND), batch) - standardised(t_ND, batch)
        return torch.log1p(batch.mean(difference_ND.pow(4).mean(1)) / _FLOOR)

"""Relations of self-attention: queries to queries, keys to keys, values to values, as distributions over tokens.

Wang et al. 2021, MiniLMv2, arXiv:2012.15828, equations 5 to 8. A tap gives queries, keys and values side by side,
(N, tokens, 3 D), as the one linear layer of an attention does. Both sides are cut into as many relation heads, whatever
heads they attend with, so their widths may differ; the tokens may not.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.spec.losses import structure as menu
from worker.engine import align
from worker.engine.outputs import Batch, Outputs, full
from worker.engine.term import Term


class MiniLM(Term):
    """KL of the relations, averaged over tokens, heads, the three kinds, samples and then taps."""

    def __init__(self, spec: menu.MiniLM, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.pairs, self.heads = spec.taps, spec.heads
        for at, pair in enumerate(self.pairs):
            s, t = student.features[pair.student], teacher.features[pair.teacher]
            if not (s.ndim == t.ndim == 3 and s.shape[1] == t.shape[1]):
                align.refuse("minilm", at, s, t, "it needs queries, keys and values of as many tokens")
            if any(x.shape[2] % (3 * self.heads) for x in (s, t)):
                align.refuse("minilm", at, s, t, f"both widths must be multiples of 3 x {self.heads} heads")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """0 where tokens relate to each other alike."""
        values = []
        for pair in self.pairs:
            s, t = full(student.features[pair.student]), full(teacher.features[pair.teacher])
            # Queries, keys and values one after the other: the relations of all at once are three times as large.
            for of_s, of_t in zip(s.chunk(3, 2), t.chunk(3, 2), strict=True):
                s_NHLL, t_NHLL = _relations(of_s, self.heads), _relations(of_t, self.heads)
                kl_NHL = F.kl_div(s_NHLL, t_NHLL, reduction="none", log_target=True).sum(-1)
                values.append(batch.mean(kl_NHL.flatten(1).mean(1)))
        return torch.stack(values).mean()


def _relations(x_NLD: Tensor, heads: int) -> Tensor:
    """Logarithms of the relations of each head, (N, heads, L, L)."""
    parts = x_NLD.reshape(*x_NLD.shape[:2], heads, -1).transpose(1, 2)
    return F.log_softmax(parts @ parts.transpose(2, 3) / parts.shape[3] ** 0.5, dim=-1)

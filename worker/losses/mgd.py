"""Masked generative distillation: a small network makes the teacher's map from a part of the student's.

Yang et al. 2022, arXiv:2205.01529, equations 2 to 5. Which places are hidden is a pure function of the term's salt, the
sample's id and how far the run is, and not drawn from a generator: a resumed run hides what the other would have
hidden, in whatever batch a sample comes.
"""

import torch
from torch import Tensor, nn

from models.seeds import derive
from models.spec.losses import feature as menu
from worker.engine import align
from worker.engine.augment import scatter
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term

_SALTS = 1 << 48


class MGD(Term):
    """(G(M * r(F_s)) - F_t)^2, averaged over places, channels, samples and then taps."""

    least_at_teacher = False  # what is hidden has to be guessed

    salt: Tensor

    def __init__(self, spec: menu.MGD, student: Outputs, teacher: Outputs) -> None:
        super().__init__()
        self.masked, self.pairs = spec.masked, align.paired(spec.taps)
        align.refuse_all_but_maps("mgd", self.pairs, student, teacher)
        self.projectors = align.connectors(self.pairs, student, teacher)
        widths = [align.width(align.read(pair, student, teacher)[1]) for pair in self.pairs]
        self.generators = nn.ModuleList(_generator(width) for width in widths)
        # Drawn once, from what the job seeds its projectors with, and kept in checkpoints.
        self.register_buffer("salt", torch.randint(_SALTS, ()))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Less where the student's map carries what it takes to make the teacher's."""
        values = []
        for at, (pair, projector, generator) in enumerate(
            zip(self.pairs, self.projectors, self.generators, strict=True)
        ):
            s, t = align.read(pair, student, teacher)
            error = generator(projector(s) * self._seen(s, batch, at)) - t
            values.append(batch.mean(error.square().flatten(1).mean(1)))
        return torch.stack(values).mean()

    def _seen(self, x_NCHW: Tensor, batch: Batch, at: int) -> Tensor:
        """(N, 1, H, W): 0 where a place is hidden, 1 elsewhere."""
        N, _, H, W = x_NCHW.shape
        places_P = torch.arange(H * W, device=batch.ids.device)
        # A place of a sample is one number; the salt sets jobs of other seeds apart.
        numbers_NP = batch.ids[:, None] * (H * W) + places_P + self.salt
        chance_NP = scatter(numbers_NP, derive(at, "mask", repr(batch.progress)))
        return (chance_NP >= int(self.masked * (1 << 63))).to(x_NCHW.dtype).reshape(N, 1, H, W)


def _generator(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width, width, kernel_size=3, padding=1), nn.ReLU(), nn.Conv2d(width, width, kernel_size=3, padding=1)
    )

"""The one contract between tasks, networks and losses.

Shapes: N is images, rows, tokens, pixels ...; C classes (or values of a regression); D features of the embedding.
"""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class Outputs:
    """What a network said of a batch.

    logits (N, C): before any softmax; predicted values (N, 1) in a regression. features: taps by module path, as the
    network gave them. embedding (N, D): what goes into the last linear layer; None where the network does not say.
    """

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None


@dataclass(slots=True)
class Batch:
    """What a loss may know beside outputs.

    y (N,): int64 class index or float32 standardised value. ids (N,): int64 stable sample ids. weight (N,): float32
    sample weights, None for all ones. progress: share of the run that is done, 0 to 1, for ramps and warm-ups.
    """

    y: Tensor
    ids: Tensor
    weight: Tensor | None = None
    progress: float = 0.0

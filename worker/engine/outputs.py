"""The one contract between tasks, networks and losses.

Shapes: N is images, rows, tokens, pixels ...; C classes (or values of a regression); D features of the embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from worker.engine.rest import Rest


@dataclass(slots=True)
class Outputs:
    """What a network said of a batch.

    logits (N, C): before any softmax; predicted values (N, 1) in a regression. features: taps by module path, as the
    network gave them. embedding (N, D): what goes into the last linear layer; None where the network does not say.
    weight (N,): float32, 0 for samples that a teacher says nothing of; None for all ones. members: what single teachers
    of an ensemble said, by id; its logits are the combination. rest: where the largest logits alone were kept, what is
    known of the others, which are then equal in `logits`. add_gradient: where autograd's graph begins with the logits,
    what takes their gradient (N, C) on to the network's parameters.
    """

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None
    weight: Tensor | None = None
    members: dict[str, "Outputs"] = field(default_factory=dict)
    rest: Rest | None = None
    add_gradient: Callable[[Tensor], None] | None = None


@dataclass(slots=True)
class Batch:
    """What a loss may know beside outputs.

    y (N,): int64 class index or float32 standardised value; -1 or NaN where there is no label. ids (N,): int64 stable
    sample ids. weight (N,): float32 sample weights, None for all ones. progress: share of the run that is done, 0 to 1,
    for ramps and warm-ups. Where samples are mixtures of two, y and ids are of one of them, share (N,) is its part, and
    y_other (N,) the label of the other; None where they are not.
    """

    y: Tensor
    ids: Tensor
    weight: Tensor | None = None
    progress: float = 0.0
    y_other: Tensor | None = None
    share: Tensor | None = None

    def by_label(self, said: Tensor) -> tuple[Tensor, "Batch"]:
        """What a network said of the samples (N, ...), and the batch, so that each has one label.

        A mixture is there twice, beside each label, by its share: a mean over samples is then that over mixtures.
        """
        if self.share is None or self.y_other is None:
            return said, self
        weight_N = torch.ones_like(self.share) if self.weight is None else self.weight.to(self.share.dtype)
        weight_M = torch.cat([self.share * weight_N, (1 - self.share) * weight_N])
        twice = Batch(torch.cat([self.y, self.y_other]), self.ids.repeat(2), weight_M, self.progress)
        return torch.cat([said, said]), twice

    def mean(self, value_N: Tensor) -> Tensor:
        """The mean over samples, each by its weight; 0 where all weights are 0."""
        if self.weight is None:
            return value_N.mean()
        weight_N = self.weight.to(value_N.dtype)
        return (value_N * weight_N).sum() / _divisor(weight_N.sum())

    def weighted(self, weight_N: Tensor) -> "Batch":
        """The same batch with each sample's weight multiplied by another."""
        return replace(self, weight=weight_N if self.weight is None else self.weight * weight_N)

    def shares(self, like: Tensor) -> Tensor:
        """Each sample's share of the batch (N,), adding up to 1; all 0 where all weights are 0. dtype of `like`."""
        N = len(self.ids)
        if self.weight is None:
            return torch.full((N,), 1 / N, dtype=like.dtype, device=like.device)
        weight_N = self.weight.to(like.dtype)
        return weight_N / _divisor(weight_N.sum())

    def mean_of_all_pairs(self, value_NN: Tensor) -> Tensor:
        """The mean over ordered pairs, a sample with itself included, each by the product of their weights."""
        share_N = self.shares(value_NN)
        return share_N @ value_NN @ share_N

    def mean_of_pairs(self, value_NN: Tensor) -> Tensor:
        """The mean over ordered pairs of two different samples, each by the product of their weights.

        0 where there is no pair: in a batch of one, or with all weights but one at 0.
        """
        weight_NN = 1 - torch.eye(value_NN.shape[0], dtype=value_NN.dtype, device=value_NN.device)
        if self.weight is not None:
            weight_N = self.weight.to(value_NN.dtype)
            weight_NN = weight_NN * weight_N[:, None] * weight_N[None, :]
        return (value_NN * weight_NN).sum() / _divisor(weight_NN.sum())


def detached(outputs: Outputs) -> Outputs:
    """The same without a way back for gradients: what one network says to another."""
    features = {name: x.detach() for name, x in outputs.features.items()}
    embedding = None if outputs.embedding is None else outputs.embedding.detach()
    return Outputs(outputs.logits.detach().float(), features, embedding)


def has_label(y_N: Tensor) -> Tensor:
    """Which samples have a label (N,)."""
    return ~y_N.isnan() if y_N.is_floating_point() else y_N >= 0


def full(x: Tensor) -> Tensor:
    """The tensor in float32 or wider: no loss takes a sum or an exponential in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def embeddings(student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """What goes into the last linear layers, (N, D) each of its own width, in float32 at least."""
    assert student.embedding is not None
    assert teacher.embedding is not None
    return full(student.embedding), full(teacher.embedding)


def _divisor(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, torch.ones_like(total))

"""What a network in training is measured by, whoever teaches it."""

from torch import Tensor, nn

from worker.engine.outputs import Batch, Outputs


class Goal(nn.Module):
    """`forward` gives the loss, a scalar, and the values that `names` lists (K,), without gradients."""

    names: list[str]

    @property
    def evaluated(self) -> nn.Module | None:
        """What is scored beside the network, as the exits of its stages are."""
        return None

    def learn(self, student: Outputs, teacher: Outputs | None, batch: Batch, share: float) -> Tensor:
        """Add the gradient of this share of the loss to all that is trained; returns the values (K,)."""
        loss: Tensor
        values_K: Tensor
        loss, values_K = self(student, teacher, batch)
        (loss * share if share < 1 else loss).backward()  # type: ignore[no-untyped-call]
        return values_K

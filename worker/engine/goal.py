"""What a network in training is measured by, whoever teaches it, and what is kept of a step for its figures.

Shapes: N samples, C classes or values, K figures, M steps.
"""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from worker.engine.outputs import Batch, Outputs

#: Of one step: the student's logits (N, C), the teacher's (N, C) where one teaches, the labels (N,).
Said = tuple[Tensor, Tensor | None, Tensor]
#: What a step leaves for its figures: them (K,), or that from which they are worked out for many steps at once.
Left = Tensor | Said


class Goal(nn.Module):
    """`forward` gives the loss, a scalar, and the figures that `names` lists (K,), without gradients."""

    names: list[str]

    @property
    def evaluated(self) -> nn.Module | None:
        """What is scored beside the network, as the exits of its stages are."""
        return None

    def learn(self, student: Outputs, teacher: Outputs | None, batch: Batch, share: float) -> Left:
        """Add the gradient of this share of the loss to all that is trained."""
        loss: Tensor
        figures_K: Tensor
        loss, figures_K = self(student, teacher, batch)
        (loss * share if share < 1 else loss).backward()  # type: ignore[no-untyped-call]
        if student.add_gradient is not None and student.logits.grad is not None:
            student.add_gradient(student.logits.grad)
        return figures_K

    def figures(self, left: Sequence[Left]) -> Tensor:
        """Of some steps (M, K), float64."""
        return torch.cat([self._figures(list(steps)) for _, steps in groupby(left, key=_kind)])

    def _figures(self, left: Sequence[Left]) -> Tensor:
        """Of steps that left the same (M, K)."""
        done = [figures_K for figures_K in left if isinstance(figures_K, Tensor)]
        if done:
            return torch.stack(done).double()
        said = [each for each in left if isinstance(each, tuple)]
        students, teachers, labels = zip(*said, strict=True)
        teacher_RC = None if teachers[0] is None else torch.cat(teachers)
        each_RK = self.figures_of_each(torch.cat(students), teacher_RC, torch.cat(labels))
        sizes = [len(y_N) for y_N in labels]
        # In float64, in which the order of a sum is not seen: figures of two runs can be compared.
        each_RK = each_RK.double()
        if len(set(sizes)) == 1:
            return each_RK.view(len(sizes), sizes[0], -1).mean(1)
        return torch.stack([each_NK.mean(0) for each_NK in torch.split(each_RK, sizes)])

    def figures_of_each(self, student_RC: Tensor, teacher_RC: Tensor | None, y_R: Tensor) -> Tensor:
        """Of each of R samples (R, K); asked where `learn` left what was said."""
        raise NotImplementedError


def _kind(left: Left) -> tuple[bool, bool]:
    """Steps of one kind are worked out together."""
    return isinstance(left, Tensor), not isinstance(left, Tensor) and left[1] is None

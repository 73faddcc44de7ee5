"""Which outputs of a teacher stand for which classes of the data set, and a batch seen through that.

Shapes: N samples, C classes of the data set, K of them that the teacher knows, M outputs of the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.outputs import Batch, Outputs


@dataclass(frozen=True, eq=False)
class Columns:
    """K classes that both know: as the data set's indices and as the teacher's columns; None for all in their order."""

    ours: Tensor | None = None
    theirs: Tensor | None = None
    #: (C,) The place of each class among the K, -1 for a class that the teacher does not know; None with `ours`.
    places: Tensor | None = None

    def of_student(self, logits_NC: Tensor) -> Tensor:
        """The student's logits of these classes (N, K)."""
        return logits_NC if self.ours is None else logits_NC.index_select(1, self.ours)

    def of_teacher(self, logits_NM: Tensor) -> Tensor:
        """The teacher's logits of these classes (N, K)."""
        return logits_NM if self.theirs is None else logits_NM.index_select(1, self.theirs)

    def known(self, y_N: Tensor) -> Tensor | None:
        """Which samples are of these classes or have no label (N,); None for all."""
        return None if self.places is None else (y_N < 0) | (self._place(y_N) >= 0)

    def labels(self, y_N: Tensor) -> Tensor:
        """The labels among these classes: 0 where `known` says no, -1 where there is no label."""
        return y_N if self.places is None else torch.where(y_N < 0, y_N, self._place(y_N).clamp_min(0))

    def _place(self, y_N: Tensor) -> Tensor:
        assert self.places is not None, "of some classes"
        return self.places.index_select(0, y_N.clamp_min(0))


SAME = Columns()


def columns(ours: Sequence[int], theirs: Sequence[int], num_classes: int, device: torch.device) -> Columns:
    """Class `ours[k]` of the data set's `num_classes` is the teacher's column `theirs[k]`."""
    pairs = sorted(zip(ours, theirs, strict=True))
    k_theirs = torch.tensor([column for _, column in pairs], device=device)
    if len(pairs) == num_classes:
        return Columns(theirs=k_theirs)
    k_ours = torch.tensor([index for index, _ in pairs], device=device)
    places = torch.full((num_classes,), -1, device=device)
    places[k_ours] = torch.arange(len(pairs), device=device)
    return Columns(k_ours, k_theirs, places)


def shared(each: Sequence[Columns], num_classes: int, device: torch.device) -> list[int]:
    """The classes of the data set that are in all of them, ascending."""
    known = torch.ones(num_classes, dtype=torch.bool, device=device)
    for of_one in each:
        if of_one.places is not None:
            known &= of_one.places >= 0
    return [int(index) for index in known.nonzero()[:, 0]]


@dataclass(frozen=True, eq=False)
class Lens:
    """What one term sees of a batch: one member's answer or that of all, and some classes or all.

    With a `T`, classes that were not kept of the teacher's answer weigh together what they weigh at that temperature.
    """

    member: str | None = None
    columns: Columns = SAME
    T: float | None = None

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> tuple[Outputs, Outputs, Batch]:
        """The three as the term sees them; samples that the teacher says nothing of have a weight of 0."""
        if self.member is not None:
            teacher = teacher.members[self.member]
        if teacher.weight is not None:
            batch = batch.weighted(teacher.weight)
        if self.T is not None and teacher.rest is not None:
            teacher = replace(teacher, logits=teacher.rest.again(teacher.logits, self.T))
        if self.columns.theirs is not None:
            teacher = replace(teacher, logits=self.columns.of_teacher(teacher.logits))
        if self.columns.ours is not None:
            student = replace(student, logits=self.columns.of_student(student.logits))
            batch = replace(batch.weighted(self._spoken_of(batch)), y=self.columns.labels(batch.y))
        return student, teacher, batch

    def _spoken_of(self, batch: Batch) -> Tensor:
        """1 for samples of these classes or without a label, 0 for others (N,); a mixture by its parts."""
        known_N = self.columns.known(batch.y)
        assert known_N is not None, "some classes are left out"
        if batch.share is None or batch.y_other is None:
            return known_N.float()
        other_N = self.columns.known(batch.y_other)
        assert other_N is not None, "some classes are left out"
        return batch.share * known_N + (1 - batch.share) * other_N


PLAIN = Lens()

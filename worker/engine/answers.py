"""What a teacher says of a whole split where it can be compared with the data set, and figures that come of it.

Shapes: n rows of the split, m of them that the teacher speaks of, C classes or values, K of them that it knows.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.columns import Columns
from worker.engine.outputs import Outputs, has_label
from worker.engine.task import Metrics, Task


@dataclass(frozen=True)
class Answers:
    """logits (m, K) and labels y (m,), a class as its place among the K.

    positions (m,) are those of the rows in the split; None for all.
    """

    logits: Tensor
    y: Tensor
    columns: Columns
    positions: Tensor | None

    @property
    def labelled(self) -> "Answers | None":
        """The part that has labels; None where there is none."""
        kept_m = has_label(self.y)
        if bool(kept_m.all()):
            return self if len(kept_m) else None
        if not bool(kept_m.any()):
            return None
        positions = kept_m.nonzero()[:, 0] if self.positions is None else self.positions[kept_m]
        return replace(self, logits=self.logits[kept_m], y=self.y[kept_m], positions=positions)

    def beside(self, logits_nC: Tensor) -> Tensor:
        """What another network says of the same rows and classes (m, K)."""
        rows_mC = logits_nC if self.positions is None else logits_nC.index_select(0, self.positions)
        return self.columns.of_student(rows_mC)

    def rescaled(self, scale: float, shift: float) -> "Answers":
        """With a regression's values in standardised units."""
        return replace(self, logits=self.logits * scale + shift)


def answers(said: Outputs, columns: Columns, y_n: Tensor) -> Answers | None:
    """What a teacher has said of a split with these labels; None where it has said nothing."""
    known_n = columns.known(y_n)
    spoken = [mask_n for mask_n in (known_n, None if said.weight is None else said.weight > 0) if mask_n is not None]
    logits, y, positions = columns.of_teacher(said.logits), columns.labels(y_n), None
    if spoken:
        positions = torch.stack(spoken).all(0).nonzero()[:, 0]
        logits, y = logits[positions], y[positions]
    return Answers(logits, y, columns, positions) if len(y) else None


def teacher_figures(task: Task, heard: Answers | None) -> Metrics | None:
    """The teacher's own figures on the rows that have labels; None where there are none."""
    labelled = heard.labelled if heard else None
    return task.metrics(labelled.logits, labelled.y) if labelled else None


def figures(task: Task, logits_nC: Tensor, y_n: Tensor, heard: Answers | None) -> Metrics:
    """A network's figures on a split: by its labels, or where it has none by the teacher; empty where neither says."""
    kept_n = has_label(y_n)
    if bool(kept_n.all()):
        return task.metrics(logits_nC, y_n)
    if bool(kept_n.any()):
        return task.metrics(logits_nC[kept_n], y_n[kept_n])
    return task.likeness(heard.beside(logits_nC), heard.logits) if heard else {}


def agreement(task: Task, logits_nC: Tensor, heard: Answers | None) -> float | None:
    """How much a network says what the teacher says, on the rows that the teacher speaks of."""
    return None if heard is None else task.agreement(heard.beside(logits_nC), heard.logits)

"""Where a job's teaching comes from, before it is known what is read of it.

A source says which points it can be tapped at and for which classes it speaks; told the terms of the job that listen to
it, it becomes a teacher that answers batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from models.canonical import TeacherMeta
from models.pairing import Shape
from models.spec.losses.term import LossTerm
from models.work import WorkOrder
from worker.engine.choosing import Choosing
from worker.engine.columns import Columns
from worker.engine.data import Rows, Split
from worker.engine.outputs import Outputs
from worker.engine.precision import Precision
from worker.engine.task import Task


@dataclass(frozen=True)
class Place:
    """What every source of a job is opened with."""

    order: WorkOrder
    workdir: Path
    device: torch.device
    task: Task
    choosing: Choosing
    train: Split


class Says(Protocol):
    """A teacher at work."""

    @property
    def precision(self) -> Precision:
        """In what numbers it computes."""

    def __call__(self, rows: Rows, *, exact: bool = False) -> Outputs:
        """What it says of samples; `exact` in float32 and without a look at labels, for figures that are reported."""


class Voice(Says, Protocol):
    """One teacher at work."""

    #: Set where a regression's values come in the target's own units: value * scale + shift is standardised.
    units: tuple[float, float] | None
    #: All that its answers hang on beside the data, where others may have asked it the same; None else.
    content: dict[str, object] | None


class Source(Protocol):
    """One teacher, or several that are heard together."""

    #: Every point that a term may read, and those that one mostly wants, shallow to deep.
    taps: set[str]
    stages: list[str]
    #: Whether it says what goes into its last linear layer.
    has_embedding: bool
    #: For which classes it speaks; None where its outputs cannot be compared with the data set's.
    columns: Columns | None
    num_outputs: int
    #: Its place in the spec, and how messages call it.
    pointer: str
    name: str

    @property
    def members(self) -> Mapping[str, "Single"]:
        """Single teachers by the ids that a term may name."""

    def stage_shapes(self, rows: Rows) -> dict[str, Shape]:
        """The shapes of its stages for this data, without the batch; `rows` are a few training samples."""

    def teacher(self, terms: Sequence[LossTerm], rows: Rows) -> Says:
        """The teacher, giving what these terms read of it; their taps are paired by then."""


class Single(Source, Protocol):
    """One teacher."""

    #: What was declared of it, where it was handed in whole.
    record: TeacherMeta | None

    def teacher(self, terms: Sequence[LossTerm], rows: Rows) -> Voice:
        """The teacher, giving what these terms read of it."""

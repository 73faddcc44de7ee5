"""Where a job's teaching comes from, before it is known what is read of it.

A source says which points it can be tapped at; told what is read of it, it becomes a teacher that answers batches.
"""

from typing import Protocol

from models.pairing import Shape
from worker.engine.data import Rows
from worker.engine.objective import Needs
from worker.engine.teacher import Teacher


class Source(Protocol):
    """One teacher of any form."""

    #: Every point that a term may read, and those that one mostly wants, shallow to deep.
    taps: set[str]
    stages: list[str]
    #: Whether it says what goes into its last linear layer.
    has_embedding: bool

    def stage_shapes(self, rows: Rows) -> dict[str, Shape]:
        """The shapes of its stages for this data, without the batch."""

    def teacher(self, wanted: Needs, rows: Rows) -> Teacher:
        """The teacher that gives what is wanted; `rows` are a few training samples."""

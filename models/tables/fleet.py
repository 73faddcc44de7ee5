"""What is known of the machines: workers that show themselves, and how long jobs took."""

from datetime import datetime

from sqlalchemy import BigInteger, Float, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Json, created_now


class Worker(Base):
    """A worker that shows itself from time to time. Written by `core.fleet` alone."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    #: [{"name", "kind"}]: one job at a time on each.
    devices: Mapped[list[Json]]
    started_at: Mapped[datetime] = created_now()
    seen_at: Mapped[datetime] = created_now()
    #: Silent for longer, it counts as gone.
    expected_by: Mapped[datetime]


class Measurement(Base):
    """What one job took, for estimates of the next. It outlives its job. Written by `core.measurements` alone."""

    __tablename__ = "measurements"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    #: What the job ran on, as the engine names it; and its kind, "cpu" or "cuda".
    device: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(16))
    #: Of all that decides the time of a training step: equal works take equally long an operation.
    work: Mapped[str] = mapped_column(String(64))
    #: The type of its student, and the number format that it computed in.
    family: Mapped[str] = mapped_column(Text)
    precision: Mapped[str] = mapped_column(String(16))
    #: Operations of a forward pass on one row, of each network that was trained, by core.workload.network_key.
    networks: Mapped[Json]
    #: Steps of training, of all networks, and their work (models.walk.Cost); None where that of one is not known.
    steps: Mapped[int] = mapped_column(BigInteger)
    flops: Mapped[float | None] = mapped_column(Float)
    #: Rows of the training split.
    num_rows: Mapped[int] = mapped_column(BigInteger)
    #: Seconds of training, caching of the teacher included, and seconds of all else.
    trained_s: Mapped[float] = mapped_column(Float)
    other_s: Mapped[float] = mapped_column(Float)
    #: What data, networks and activations take by count; None where a network cannot be counted.
    held_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: The most memory that the training process held, and of it on the device where that has its own.
    peak_bytes: Mapped[int] = mapped_column(BigInteger)
    device_peak_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: For people: how each network computed, seconds of each phase.
    facts: Mapped[Json]
    at: Mapped[datetime] = created_now()

    __table_args__ = (
        Index("ix_measurements_work_at", "work", "at"),
        Index("ix_measurements_at", "at"),
        Index("ix_measurements_networks", "networks", postgresql_using="gin"),
    )

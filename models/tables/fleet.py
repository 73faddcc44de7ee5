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
    #: What the job ran on, as the engine names it.
    device: Mapped[str] = mapped_column(Text)
    #: Of all that decides the time of a training step: equal works take equally long a row.
    work: Mapped[str] = mapped_column(String(64))
    #: Of the student and the shape of its input.
    student: Mapped[str] = mapped_column(String(64))
    #: Of the student's forward pass on one row.
    student_flops: Mapped[int | None] = mapped_column(BigInteger)
    #: Of all networks for one row of training; None where those of one are not known.
    row_flops: Mapped[float | None] = mapped_column(Float)
    #: Rows that were trained on, over all epochs.
    rows: Mapped[int] = mapped_column(BigInteger)
    #: Seconds a row, caching of the teacher included, and seconds of all else.
    row_s: Mapped[float] = mapped_column(Float)
    other_s: Mapped[float] = mapped_column(Float)
    #: The most memory that the training process held, and of it on the device where that has its own.
    peak_bytes: Mapped[int] = mapped_column(BigInteger)
    device_peak_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: For people: precision, losses, batch size, seconds of each phase.
    facts: Mapped[Json]
    at: Mapped[datetime] = created_now()

    __table_args__ = (
        Index("ix_measurements_work_at", "work", "at"),
        Index("ix_measurements_row_flops", "row_flops"),
        Index("ix_measurements_student", "student"),
    )

"""Jobs and all that belongs to one. Written by `core.jobs` alone."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.status import Desired, JobStatus
from models.tables.base import Base, Json, created_now, owner_of_it, word


class Job(Base):
    """A job. Written by `core.jobs` alone."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_of_it()
    name: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[Json] = mapped_column(default=dict)
    spec: Mapped[Json]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    #: The place of its priority in models.spec.job.PRIORITIES: larger comes first.
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    #: What it was expected to take when it was handed in.
    estimate: Mapped[Json | None]

    status: Mapped[JobStatus] = mapped_column(word(JobStatus), default=JobStatus.QUEUED)
    phase: Mapped[str | None] = mapped_column(String(16))
    desired: Mapped[Desired] = mapped_column(word(Desired), default=Desired.RUN)
    progress: Mapped[Json] = mapped_column(default=dict)
    error: Mapped[Json | None]
    result: Mapped[Json | None]
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    #: "start" or "checkpoint": where a retry goes on from; None where the job is no retry.
    retry_from: Mapped[str | None] = mapped_column(String(16))
    #: The last one kept: {"key", "step", "epoch", "attempt" ...}, as the worker words it.
    checkpoint: Mapped[Json | None]

    #: Counted when a claim is made, so that a job which always kills its worker ends.
    attempt: Mapped[int] = mapped_column(default=0)
    #: Attempts that ended by no fault of the job (a drained worker); they do not count against max_attempts.
    attempts_forgiven: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=3)
    lease_token: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    #: Seconds of running over the attempts that have ended.
    ran_s: Mapped[float] = mapped_column(Float, default=0.0)
    #: Number of the last event; the next is one more.
    event_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    #: Grows with each change: the ETag.
    version: Mapped[int] = mapped_column(BigInteger, default=0)

    created_at: Mapped[datetime] = created_now()
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    #: When its last attempt began: the owner's turn.
    claimed_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_jobs_owner_created_at_id", "owner", "created_at", "id"),
        Index("ix_jobs_owner_status_created_at_id", "owner", "status", "created_at", "id"),
        Index("ix_jobs_labels", "labels", postgresql_using="gin"),
        Index("ix_jobs_queued", "queued_at", "id", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_line", "owner", "priority", "queued_at", "id", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_rank", "priority", "queued_at", "id", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_owner_claimed_at", "owner", "claimed_at", postgresql_where=text("claimed_at IS NOT NULL")),
        Index("ix_jobs_leased_owner", "owner", postgresql_where=text("status IN ('running', 'pausing', 'cancelling')")),
        Index(
            "ix_jobs_leased",
            "lease_expires_at",
            postgresql_where=text("status IN ('running', 'pausing', 'cancelling')"),
        ),
    )


class JobTeacher(Base):
    """A stored teacher that a job reads; it cannot be deleted before the job is."""

    __tablename__ = "job_teachers"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    #: In the order of the spec, from 0.
    place: Mapped[int] = mapped_column(primary_key=True)
    teacher_id: Mapped[str] = mapped_column(ForeignKey("teachers.id"), index=True)

    __table_args__ = (UniqueConstraint("job_id", "teacher_id"),)


class JobOutputs(Base):
    """A data set of given outputs that a job reads; it cannot be deleted before the job is."""

    __tablename__ = "job_outputs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    #: In the order of the spec, from 0.
    place: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)

    __table_args__ = (UniqueConstraint("job_id", "dataset_id"),)


class JobInput(Base):
    """A teacher or a data set as it was when the job was accepted, kept when another verdict takes its place."""

    __tablename__ = "job_inputs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    input_id: Mapped[str] = mapped_column(primary_key=True)
    #: As in the row of the teacher or the data set.
    meta: Mapped[Json]
    storage_key: Mapped[str] = mapped_column(Text, index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)


class Attempt(Base):
    """One run of a job by one worker."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(Text)
    lease_token: Mapped[str] = mapped_column(unique=True)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    #: succeeded, failed, cancelled, paused, drained, lost
    outcome: Mapped[str | None] = mapped_column(String(16))
    exit_code: Mapped[int | None]
    #: How many lines of the child's events.jsonl are in `events`: after an answer that was lost, the worker reads here
    #: where to go on.
    lines_read: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[Json | None]
    #: The tail of the child's output.
    log: Mapped[str] = mapped_column(Text, default="")


class Event(Base):
    """One line of a job's history: numbered from 1 without gaps."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    attempt: Mapped[int] = mapped_column(Integer)
    #: queued, started, phase, progress, metrics, warning, notice, requeued, succeeded, failed, cancelled ...
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[Json] = mapped_column(default=dict)

    __table_args__ = (Index("ix_events_job_id_type_seq", "job_id", "type", "seq"),)


class Artifact(Base):
    """A file that a job made; rows appear in the transaction that ends the job."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    storage_key: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    media_type: Mapped[str]
    created_at: Mapped[datetime] = created_now()

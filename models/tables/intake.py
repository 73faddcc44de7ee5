"""What users hand in: uploads, and the teachers and data sets that are made of them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.status import CheckStatus
from models.tables.base import Base, Json, created_now, owner_of_it, word


class Upload(Base):
    """Bytes that a user handed in. Equal bytes share one stored object, named by their hash."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_of_it()
    filename: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    storage_key: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = created_now()

    __table_args__ = (Index("ix_uploads_owner_created_at_id", "owner", "created_at", "id"),)


class ResumableUpload(Base):
    """A file that arrives in parts. Once it is whole, an upload of the same id is made of it."""

    __tablename__ = "resumable_uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_of_it()
    filename: Mapped[str] = mapped_column(Text)
    #: The caller's Upload-Metadata, given back as it came. (`metadata` is SQLAlchemy's own.)
    said: Mapped[str] = mapped_column("metadata", Text)
    #: None until the caller knows it.
    length: Mapped[int | None] = mapped_column(BigInteger)
    #: Bytes that are on disk for good: where the caller goes on.
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = created_now()
    expires_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_resumable_uploads_expires_at", "expires_at"),)


class _Checked:
    """A thing that a worker checks and converts once: the lease says which worker is at it."""

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = owner_of_it()
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[CheckStatus] = mapped_column(word(CheckStatus), default=CheckStatus.CHECKING)
    #: {"checks": [{id, result, detail}], ...figures for the user}
    report: Mapped[Json] = mapped_column(default=dict)
    #: The canonical record: models.canonical.TeacherMeta or DatasetMeta.
    meta: Mapped[Json | None]
    storage_key: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigInteger)
    #: The user's words: models.spec.teachers.TeacherSpec or models.spec.data.DatasetSpec.
    spec: Mapped[Json]
    attempt: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = created_now()
    checked_at: Mapped[datetime | None]
    #: When another check was asked for, until its verdict replaces the present one.
    recheck_at: Mapped[datetime | None]


class Teacher(_Checked, Base):
    """A teacher: an upload, its architecture, the verdict on it."""

    __tablename__ = "teachers"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)

    __table_args__ = (Index("ix_teachers_owner_created_at_id", "owner", "created_at", "id"),)


class Dataset(_Checked, Base):
    """A data set: an upload, its task and options, the verdict on it."""

    __tablename__ = "datasets"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), index=True)

    __table_args__ = (Index("ix_datasets_owner_created_at_id", "owner", "created_at", "id"),)

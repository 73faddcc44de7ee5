"""Answers kept with Idempotency-Key, resumable uploads, and verdicts that are made again"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # The older form kept no answer to replay.
    op.execute("DELETE FROM idempotency_keys")
    op.drop_column("idempotency_keys", "made")
    op.add_column("idempotency_keys", sa.Column("status", sa.Integer(), nullable=False))
    op.add_column("idempotency_keys", sa.Column("headers", JSONB(none_as_null=True), nullable=False))
    op.add_column("idempotency_keys", sa.Column("body", sa.Text(), nullable=False))
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    for table in ("teachers", "datasets"):
        op.add_column(table, sa.Column("recheck_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "resumable_uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="local", nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resumable_uploads")),
    )
    op.create_index("ix_resumable_uploads_expires_at", "resumable_uploads", ["expires_at"], unique=False)
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("input_id", sa.String(), nullable=False),
        sa.Column("meta", JSONB(none_as_null=True), nullable=False),
        sa.Column("storage_key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_inputs_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "input_id", name=op.f("pk_job_inputs")),
    )
    op.create_index(op.f("ix_job_inputs_storage_key"), "job_inputs", ["storage_key"], unique=False)


def downgrade() -> None:
    op.drop_table("job_inputs")
    op.drop_table("resumable_uploads")
    for table in ("teachers", "datasets"):
        op.drop_column(table, "recheck_at")
    op.execute("DELETE FROM idempotency_keys")
    op.drop_index("ix_idempotency_keys_created_at", "idempotency_keys")
    for column in ("body", "headers", "status"):
        op.drop_column("idempotency_keys", column)
    op.add_column("idempotency_keys", sa.Column("made", sa.String(), nullable=False))

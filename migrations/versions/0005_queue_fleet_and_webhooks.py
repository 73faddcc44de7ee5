"""Priorities and the order of the queue; workers and what jobs took; webhooks"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_QUEUED = sa.text("status = 'queued'")
_LEASED = sa.text("status IN ('running', 'pausing', 'cancelling')")
_JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    _order_of_the_queue()
    _fleet()
    _webhooks()


def _order_of_the_queue() -> None:
    # Constant defaults: no row is rewritten.
    op.add_column("jobs", sa.Column("priority", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("jobs", sa.Column("estimate", _JSON, nullable=True))
    op.add_column("jobs", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_jobs_line", "jobs", ["owner", "priority", "queued_at", "id"], postgresql_where=_QUEUED)
    op.create_index("ix_jobs_rank", "jobs", ["priority", "queued_at", "id"], postgresql_where=_QUEUED)
    claimed = sa.text("claimed_at IS NOT NULL")
    op.create_index("ix_jobs_owner_claimed_at", "jobs", ["owner", "claimed_at"], postgresql_where=claimed)
    op.create_index("ix_jobs_leased_owner", "jobs", ["owner"], postgresql_where=_LEASED)


def _fleet() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("devices", _JSON, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expected_by", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "measurements",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("work", sa.String(length=64), nullable=False),
        sa.Column("student", sa.String(length=64), nullable=False),
        sa.Column("student_flops", sa.BigInteger(), nullable=True),
        sa.Column("row_flops", sa.Float(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("row_s", sa.Float(), nullable=False),
        sa.Column("other_s", sa.Float(), nullable=False),
        sa.Column("peak_bytes", sa.BigInteger(), nullable=False),
        sa.Column("device_peak_bytes", sa.BigInteger(), nullable=True),
        sa.Column("facts", _JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_measurements")),
    )
    op.create_index("ix_measurements_work_at", "measurements", ["work", "at"])
    op.create_index("ix_measurements_row_flops", "measurements", ["row_flops"])
    op.create_index("ix_measurements_student", "measurements", ["student"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="local", nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", _word("enabled", "disabled", name="endpointstatus"), nullable=False),
        sa.Column("notice", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_owner_created_at_id", "webhooks", ["owner", "created_at", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("webhook_id", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("data", _JSON, nullable=False),
        sa.Column("status", _word("pending", "delivered", "failed", name="deliverystatus"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_token", sa.String(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer_status", sa.Integer(), nullable=True),
        sa.Column("answer_body", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_webhook_id_created_at_id", "webhook_deliveries", ["webhook_id", "created_at", "id"]
    )
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["webhook_id", "next_at", "id"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_ended_at",
        "webhook_deliveries",
        ["ended_at"],
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )


def _word(*words: str, name: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, length=16)


def downgrade() -> None:
    for table in ("webhook_deliveries", "webhooks", "measurements", "workers"):
        op.drop_table(table)
    for index in ("ix_jobs_leased_owner", "ix_jobs_owner_claimed_at", "ix_jobs_rank", "ix_jobs_line"):
        op.drop_index(index, "jobs")
    for column in ("claimed_at", "estimate", "priority"):
        op.drop_column("jobs", column)

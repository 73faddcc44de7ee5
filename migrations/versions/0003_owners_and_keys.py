"""Keys, and an owner of everything that users make; what there is belongs to `local`"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_OWNED = ("uploads", "teachers", "datasets", "jobs", "idempotency_keys")
_LISTS = ("teachers", "datasets", "jobs")


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column(
            "role", sa.Enum("admin", "user", "viewer", name="role", native_enum=False, length=16), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_keys_prefix")),
        sa.UniqueConstraint("hash", name=op.f("uq_keys_hash")),
    )
    op.create_index(op.f("ix_keys_owner"), "keys", ["owner"], unique=False)
    for table in _OWNED:
        # A constant default: no row is rewritten.
        op.add_column(table, sa.Column("owner", sa.Text(), server_default="local", nullable=False))
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys")
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["owner", "key", "route"])
    op.create_index("ix_uploads_owner_created_at_id", "uploads", ["owner", "created_at", "id"], unique=False)
    for table in _LISTS:
        op.create_index(f"ix_{table}_owner_created_at_id", table, ["owner", "created_at", "id"], unique=False)
        op.drop_index(f"ix_{table}_created_at_id", table)
    op.create_index("ix_jobs_owner_status_created_at_id", "jobs", ["owner", "status", "created_at", "id"], unique=False)
    op.drop_index("ix_jobs_status_created_at_id", "jobs")


def downgrade() -> None:
    """Only where one owner has everything: without owners everyone would see the things of all."""
    for table in _OWNED:
        op.execute(
            f"DO $$ BEGIN IF (SELECT count(DISTINCT owner) FROM {table}) > 1 THEN "  # noqa: S608 - a name of ours
            f"RAISE EXCEPTION '{table} has things of several owners, whom the older schema cannot keep apart'; "
            "END IF; END $$"
        )
    op.create_index("ix_jobs_status_created_at_id", "jobs", ["status", "created_at", "id"], unique=False)
    op.drop_index("ix_jobs_owner_status_created_at_id", "jobs")
    for table in _LISTS:
        op.create_index(f"ix_{table}_created_at_id", table, ["created_at", "id"], unique=False)
        op.drop_index(f"ix_{table}_owner_created_at_id", table)
    op.drop_index("ix_uploads_owner_created_at_id", "uploads")
    op.drop_constraint("pk_idempotency_keys", "idempotency_keys")
    op.create_primary_key("pk_idempotency_keys", "idempotency_keys", ["key", "route"])
    for table in _OWNED:
        op.drop_column(table, "owner")
    op.drop_table("keys")

"""Measurements of whole trainings by steps and operations"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    # What was measured before says neither its steps nor all its operations: nothing can be scaled from it.
    op.execute("DELETE FROM measurements")
    _replace(
        ["ix_measurements_row_flops", "ix_measurements_student"],
        ["student", "student_flops", "row_flops", "rows", "row_s"],
        [
            sa.Column("kind", sa.String(length=16), nullable=False),
            sa.Column("family", sa.Text(), nullable=False),
            sa.Column("precision", sa.String(length=16), nullable=False),
            sa.Column("networks", _JSON, nullable=False),
            sa.Column("steps", sa.BigInteger(), nullable=False),
            sa.Column("flops", sa.Float(), nullable=True),
            sa.Column("num_rows", sa.BigInteger(), nullable=False),
            sa.Column("trained_s", sa.Float(), nullable=False),
            sa.Column("held_bytes", sa.BigInteger(), nullable=True),
        ],
    )
    op.create_index("ix_measurements_at", "measurements", ["at"])
    op.create_index("ix_measurements_networks", "measurements", ["networks"], postgresql_using="gin")


def downgrade() -> None:
    op.execute("DELETE FROM measurements")
    _replace(
        ["ix_measurements_at", "ix_measurements_networks"],
        ["kind", "family", "precision", "networks", "steps", "flops", "num_rows", "trained_s", "held_bytes"],
        [
            sa.Column("student", sa.String(length=64), nullable=False),
            sa.Column("student_flops", sa.BigInteger(), nullable=True),
            sa.Column("row_flops", sa.Float(), nullable=True),
            sa.Column("rows", sa.BigInteger(), nullable=False),
            sa.Column("row_s", sa.Float(), nullable=False),
        ],
    )
    op.create_index("ix_measurements_row_flops", "measurements", ["row_flops"])
    op.create_index("ix_measurements_student", "measurements", ["student"])


def _replace(indexes: Sequence[str], columns: Sequence[str], others: Sequence[sa.Column[object]]) -> None:
    for index in indexes:
        op.drop_index(index, "measurements")
    for name in columns:
        op.drop_column("measurements", name)
    for column in others:
        op.add_column("measurements", column)

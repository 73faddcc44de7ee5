"""A job reads any number of teachers and of given outputs"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _create("job_teachers", "teacher_id", "teachers.id")
    _create("job_outputs", "dataset_id", "datasets.id")
    op.execute("INSERT INTO job_teachers (job_id, place, teacher_id) SELECT id, 0, teacher_id FROM jobs")
    op.drop_column("jobs", "teacher_id")


def _create(table: str, column: str, target: str) -> None:
    op.create_table(
        table,
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column(column, sa.String(), nullable=False),
        sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f(f"fk_{table}_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "place", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("job_id", column, name=op.f(f"uq_{table}_job_id_{column}")),
    )
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def downgrade() -> None:
    """Only jobs with exactly one teacher and no given outputs can be said in the older form; others keep it from going.

    A column that is not null and takes no default ends the migration by itself where a job has no teacher.
    """
    op.add_column("jobs", sa.Column("teacher_id", sa.String(), nullable=True))
    op.execute(
        "UPDATE jobs SET teacher_id = (SELECT min(teacher_id) FROM job_teachers WHERE job_id = jobs.id) "
        "WHERE (SELECT count(*) FROM job_teachers WHERE job_id = jobs.id) = 1 "
        "AND NOT EXISTS (SELECT FROM job_outputs WHERE job_id = jobs.id)"
    )
    op.alter_column("jobs", "teacher_id", nullable=False)
    op.create_foreign_key(op.f("fk_jobs_teacher_id"), "jobs", "teachers", ["teacher_id"], ["id"])
    op.create_index(op.f("ix_jobs_teacher_id"), "jobs", ["teacher_id"], unique=False)
    op.drop_table("job_outputs")
    op.drop_table("job_teachers")

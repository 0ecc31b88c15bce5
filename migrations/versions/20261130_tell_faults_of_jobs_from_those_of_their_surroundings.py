"""Tell faults of jobs from those of their surroundings."""

import sqlalchemy as sa
from alembic import op

revision = "a93c5e17d842"
down_revision = "e5b27c9d1f60"
branch_labels = None
depends_on = None

_HAS_FAILED = sa.text("error_code IS NOT NULL")


def upgrade() -> None:
    # Defaults in the database let processes of the version before go on during a rolling upgrade.
    op.add_column("jobs", sa.Column("at_work", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("is_suspect", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("pauses", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("paused_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_jobs_error_code",
        "jobs",
        ["error_code", "id"],
        postgresql_where=_HAS_FAILED,
        sqlite_where=_HAS_FAILED,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_error_code", table_name="jobs")
    for column in ("paused_since", "pauses", "is_suspect", "at_work"):
        op.drop_column("jobs", column)

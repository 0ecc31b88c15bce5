"""Note deadlines of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "9d4b7e02c6a5"
down_revision = "b41e7d9c3a58"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deadline", sa.DateTime(timezone=True), nullable=True))
    condition = sa.text("state = 'queued' AND deadline IS NOT NULL")
    op.create_index(
        "ix_jobs_wanted", "jobs", ["queue", "priority", "deadline"], postgresql_where=condition, sqlite_where=condition
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_wanted", table_name="jobs")
    op.drop_column("jobs", "deadline")

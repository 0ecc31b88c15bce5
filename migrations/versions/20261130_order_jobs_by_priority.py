"""Order jobs by priority."""

import sqlalchemy as sa
from alembic import op

revision = "5e8b1d7a4c36"
down_revision = "c70b9e3d52f8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.String(length=24), server_default="interactive", nullable=False))
    condition = sa.text("state = 'queued'")
    op.create_index(
        "ix_jobs_due", "jobs", ["queue", "priority", "due_at"], postgresql_where=condition, sqlite_where=condition
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_due", table_name="jobs")
    op.drop_column("jobs", "priority")

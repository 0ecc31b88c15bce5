"""Carry traces to jobs."""

import sqlalchemy as sa
from alembic import op

revision = "c7f2a94e6b18"
down_revision = "5e8b1d7a4c36"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace_parent", sa.String(length=55), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "trace_parent")

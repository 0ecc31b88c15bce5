"""Lease idempotency keys to the process that answers."""

import sqlalchemy as sa
from alembic import op

revision = "c41f6ad90b37"
down_revision = "c41f0d7be215"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("holder", sa.String(length=32), nullable=True))
    op.add_column("idempotency_keys", sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "lease_expires_at")
    op.drop_column("idempotency_keys", "holder")

"""Note damaged objects."""

import sqlalchemy as sa
from alembic import op

revision = "e5b27c9d1f60"
down_revision = "c41f6ad90b37"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stored_objects", sa.Column("damaged_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("stored_objects", "damaged_at")

"""Note what locks hold in storage."""

import sqlalchemy as sa
from alembic import op

revision = "e7c05a1f8b29"
down_revision = "9d4b7e02c6a5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("loose_objects", sa.Column("retained_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("loose_objects", "retained_at")

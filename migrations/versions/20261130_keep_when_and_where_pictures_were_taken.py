"""Keep when and where pictures were taken, where their uploads ask for it."""

import sqlalchemy as sa
from alembic import op

revision = "5d83c6f0e17a"
down_revision = "a7d05b3e9c41"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("kept_metadata", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("images", "kept_metadata")

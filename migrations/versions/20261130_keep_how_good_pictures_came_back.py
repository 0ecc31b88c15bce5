"""Keep how good pictures came back that were decoded as they were taken in."""

import sqlalchemy as sa
from alembic import op

revision = "8e27a4c95b10"
down_revision = "d83b6f0a4e17"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("quality", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("images", "quality")

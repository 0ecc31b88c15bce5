"""Index the originals and references of images."""

import sqlalchemy as sa
from alembic import op

revision = "b41e7d9c3a58"
down_revision = "c7f2a94e6b18"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("original_key", "reference_key"):
        condition = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"ix_images_{name}", "images", [name], postgresql_where=condition, sqlite_where=condition)


def downgrade() -> None:
    for name in ("reference_key", "original_key"):
        op.drop_index(f"ix_images_{name}", "images")

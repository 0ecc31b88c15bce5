"""Note what the mirror of the storage has."""

import sqlalchemy as sa
from alembic import op

revision = "a7d05b3e9c41"
down_revision = "f1a6c27d80be"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stored_objects", sa.Column("mirrored_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_stored_objects_mirrored_at"), "stored_objects", ["mirrored_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_stored_objects_mirrored_at"), "stored_objects")
    op.drop_column("stored_objects", "mirrored_at")

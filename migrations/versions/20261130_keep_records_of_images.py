"""Keep records of images in storage, and the networks that their streams name."""

import sqlalchemy as sa
from alembic import op

revision = "f1a6c27d80be"
down_revision = "0a6d4f82c9b1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("networks", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("images", sa.Column("record_sha256", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_images_record_sha256"), "images", ["record_sha256"])


def downgrade() -> None:
    # Records become unknown objects: nothing reads them, and a later upgrade writes the same again.
    op.execute("DELETE FROM stored_objects WHERE kind = 'record'")
    op.execute("DELETE FROM loose_objects WHERE key LIKE 'records/%'")
    op.drop_index(op.f("ix_images_record_sha256"), "images")
    op.drop_column("images", "record_sha256")
    op.drop_column("images", "networks")

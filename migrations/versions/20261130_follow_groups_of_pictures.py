"""Know how many pictures a batch expects, which it rejected, and where pictures lay."""

import sqlalchemy as sa
from alembic import op

revision = "f19b3c7d5e20"
down_revision = "d4e81f6b2c93"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("expected", sa.Integer(), nullable=True))
    op.add_column("images", sa.Column("folder", sa.String(length=500), nullable=True))
    op.create_table(
        "batch_rejections",
        sa.Column("batch_id", sa.String(length=32), nullable=False),
        sa.Column("name_sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("message", sa.String(length=1000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_batch_rejections_batch_id_batches")),
        sa.PrimaryKeyConstraint("batch_id", "name_sha256", name=op.f("pk_batch_rejections")),
    )


def downgrade() -> None:
    op.drop_table("batch_rejections")
    op.drop_column("images", "folder")
    op.drop_column("batches", "expected")

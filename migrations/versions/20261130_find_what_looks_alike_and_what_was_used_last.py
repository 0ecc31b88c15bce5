"""Find pictures that look alike, and note when reconstructions were last used."""

import sqlalchemy as sa
from alembic import op

revision = "c70b9e3d52f8"
down_revision = "8e27a4c95b10"
branch_labels = None
depends_on = None

_BANDS = [f"((perceptual_hash >> {shift}) & 65535)" for shift in (0, 16, 32, 48)]


def upgrade() -> None:
    op.add_column("images", sa.Column("perceptual_hash", sa.BigInteger(), nullable=True))
    for number, band in enumerate(_BANDS):
        op.create_index(f"ix_images_likeness_{number}", "images", [sa.text(band)])
    op.add_column("reconstructions", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE reconstructions SET last_used_at = created_at")
    op.create_index(op.f("ix_reconstructions_last_used_at"), "reconstructions", ["last_used_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_reconstructions_last_used_at"), "reconstructions")
    op.drop_column("reconstructions", "last_used_at")
    for number in range(len(_BANDS)):
        op.drop_index(f"ix_images_likeness_{number}", "images")
    op.drop_column("images", "perceptual_hash")

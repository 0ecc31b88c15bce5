"""Note the networks of reconstructions."""

import sqlalchemy as sa
from alembic import op

revision = "b7d2e94a1c58"
down_revision = "a93c5e17d842"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reconstructions", sa.Column("weights", sa.JSON(), nullable=True))
    op.create_table(
        "network_sets",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("weights", sa.JSON(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_network_sets")),
    )


def downgrade() -> None:
    op.drop_table("network_sets")
    op.drop_column("reconstructions", "weights")

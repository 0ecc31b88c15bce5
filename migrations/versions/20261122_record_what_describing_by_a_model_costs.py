"""Record what describing by a model costs."""

import sqlalchemy as sa
from alembic import op

revision = "2d6805f1792b"
down_revision = "2ba56a7bf05f"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bought_answers",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("buyer", sa.String(length=32), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bought_answers")),
    )
    op.create_table(
        "spending",
        sa.Column("period", sa.String(length=32), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("period", name=op.f("pk_spending")),
    )
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.add_column(sa.Column("usage", sa.JSON(none_as_null=True), nullable=True))

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("usage", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("usage")

    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.drop_column("usage")

    op.drop_table("spending")
    op.drop_table("bought_answers")

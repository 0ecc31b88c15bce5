"""Keep webhooks, and messages on their way to them."""

import sqlalchemy as sa
from alembic import op

revision = "0a6d4f82c9b1"
down_revision = "f19b3c7d5e20"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("secret", sa.String(length=80), nullable=False),
        sa.Column("batch_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner", sa.String(length=64), server_default="default", nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_webhooks_batch_id_batches")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    for name, columns, condition in (
        ("ix_webhooks_owner", ["owner", "id"], "owner <> 'default'"),
        ("ix_webhooks_jobs", ["owner"], "batch_id IS NULL"),
        ("ix_webhooks_batch_id", ["batch_id"], "batch_id IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "webhooks", columns, postgresql_where=where, sqlite_where=where)
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("webhook_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(length=300), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_messages_webhook_id_webhooks"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_messages")),
    )
    op.create_index("ix_webhook_messages_webhook_id", "webhook_messages", ["webhook_id", "id"])
    op.create_index("ix_webhook_messages_due", "webhook_messages", ["state", "due_at"])


def downgrade() -> None:
    op.drop_table("webhook_messages")
    op.drop_table("webhooks")

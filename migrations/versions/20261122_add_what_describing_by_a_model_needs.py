"""Add what describing by a model needs."""

import sqlalchemy as sa
from alembic import op

revision = "3bed30fca41c"
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
        "description_lots",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("file_id", sa.String(length=200), nullable=True),
        sa.Column("batch_id", sa.String(length=200), nullable=True),
        sa.Column("has_ended", sa.Boolean(), nullable=False),
        sa.Column("spending_period", sa.String(length=32), nullable=True),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("claimant", sa.String(length=32), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_description_lots")),
    )
    with op.batch_alter_table("description_lots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_description_lots_has_ended"), ["has_ended"], unique=False)

    op.create_table(
        "spending",
        sa.Column("period", sa.String(length=32), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("period", name=op.f("pk_spending")),
    )
    op.create_table(
        "description_requests",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column(
            "state",
            sa.Enum("waiting", "sent", name="requeststate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("object_key", sa.String(length=200), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("lot_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["description_lots.id"], name=op.f("fk_description_requests_lot_id_description_lots")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_description_requests")),
    )
    with op.batch_alter_table("description_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_description_requests_lot_id"), ["lot_id"], unique=False)
        batch_op.create_index("ix_description_requests_next", ["state", "created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_description_requests_object_key"), ["object_key"], unique=False)

    op.create_table(
        "description_waiters",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_description_waiters_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_description_waiters")),
    )
    with op.batch_alter_table("description_waiters", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_description_waiters_key"), ["key"], unique=False)

    op.add_column("images", sa.Column("usage", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("jobs", sa.Column("usage", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    # In place on SQLite too: a table that is copied and dropped would take the rows that refer to it along.
    op.drop_column("jobs", "usage")
    op.drop_column("images", "usage")

    with op.batch_alter_table("description_waiters", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_description_waiters_key"))

    op.drop_table("description_waiters")
    with op.batch_alter_table("description_requests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_description_requests_object_key"))
        batch_op.drop_index("ix_description_requests_next")
        batch_op.drop_index(batch_op.f("ix_description_requests_lot_id"))

    op.drop_table("description_requests")
    op.drop_table("spending")
    with op.batch_alter_table("description_lots", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_description_lots_has_ended"))

    op.drop_table("description_lots")
    op.drop_table("bought_answers")

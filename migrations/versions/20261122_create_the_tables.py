"""Create the tables."""

import sqlalchemy as sa
from alembic import op

revision = "2ba56a7bf05f"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("location", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_created_at"), ["created_at"], unique=False)

    op.create_table(
        "loose_objects",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_loose_objects")),
    )
    with op.batch_alter_table("loose_objects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_loose_objects_due_at"), ["due_at"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("queue", sa.String(length=24), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outbox_due_at"), ["due_at"], unique=False)

    op.create_table(
        "images",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column(
            "state",
            sa.Enum("pending", "ready", "failed", "cancelled", name="imagestate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("batch_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("original_bytes", sa.BigInteger(), nullable=True),
        sa.Column("original_sha256", sa.String(length=64), nullable=True),
        sa.Column("original_key", sa.String(length=200), nullable=True),
        sa.Column("keep_original", sa.Boolean(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("bitstream_sha256", sa.String(length=64), nullable=True),
        sa.Column("bitstream_bytes", sa.BigInteger(), nullable=True),
        sa.Column("bits", sa.JSON(), nullable=True),
        sa.Column("mode", sa.String(length=20), nullable=True),
        sa.Column("profile", sa.String(length=20), nullable=True),
        sa.Column("reference_key", sa.String(length=200), nullable=True),
        sa.Column("declared_bits", sa.BigInteger(), nullable=True),
        sa.Column("maps", sa.JSON(), nullable=True),
        sa.Column("seconds", sa.JSON(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_images_batch_id_batches")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
    )
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_images_batch_id"), ["batch_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_images_bitstream_sha256"), ["bitstream_sha256"], unique=False)
        batch_op.create_index(batch_op.f("ix_images_state"), ["state"], unique=False)

    op.create_table(
        "descriptions",
        sa.Column("image_id", sa.String(length=32), nullable=False),
        sa.Column("describer", sa.String(length=40), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_descriptions_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_descriptions")),
    )
    op.create_table(
        "reconstructions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("image_id", sa.String(length=32), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "pending", "ready", "failed", "cancelled", name="reconstructionstate", native_enum=False, length=24
            ),
            nullable=False,
        ),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("options_sha256", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("object_key", sa.String(length=200), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("restorer", sa.String(length=40), nullable=True),
        sa.Column("schedule", sa.String(length=20), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("seconds", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_reconstructions_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconstructions")),
    )
    with op.batch_alter_table("reconstructions", schema=None) as batch_op:
        batch_op.create_index("ix_reconstructions_same", ["image_id", "options_sha256"], unique=False)
        batch_op.create_index(batch_op.f("ix_reconstructions_sha256"), ["sha256"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "kind", sa.Enum("encode", "decode", "probe", name="jobkind", native_enum=False, length=24), nullable=False
        ),
        sa.Column("queue", sa.String(length=24), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued", "running", "succeeded", "failed", "cancelled", name="jobstate", native_enum=False, length=24
            ),
            nullable=False,
        ),
        sa.Column("image_id", sa.String(length=32), nullable=True),
        sa.Column("reconstruction_id", sa.String(length=32), nullable=True),
        sa.Column("batch_id", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("woken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.String(length=48), nullable=True),
        sa.Column("lease_token", sa.String(length=80), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("stage", sa.String(length=40), nullable=True),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("error_message", sa.String(length=1000), nullable=True),
        sa.Column("seconds", sa.JSON(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_jobs_batch_id_batches")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_jobs_image_id_images"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["reconstruction_id"],
            ["reconstructions.id"],
            name=op.f("fk_jobs_reconstruction_id_reconstructions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_batch_id",
            ["batch_id"],
            unique=False,
            postgresql_where=sa.text("batch_id IS NOT NULL"),
            sqlite_where=sa.text("batch_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_jobs_image_id",
            ["image_id"],
            unique=False,
            postgresql_where=sa.text("image_id IS NOT NULL"),
            sqlite_where=sa.text("image_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_jobs_open",
            ["queue", "state", "id"],
            unique=False,
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        )
        batch_op.create_index(
            "ix_jobs_reconstruction_id",
            ["reconstruction_id"],
            unique=False,
            postgresql_where=sa.text("reconstruction_id IS NOT NULL"),
            sqlite_where=sa.text("reconstruction_id IS NOT NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_jobs_reconstruction_id",
            postgresql_where=sa.text("reconstruction_id IS NOT NULL"),
            sqlite_where=sa.text("reconstruction_id IS NOT NULL"),
        )
        batch_op.drop_index("ix_jobs_open", postgresql_where=sa.text("state IN ('queued', 'running')"))
        batch_op.drop_index(
            "ix_jobs_image_id",
            postgresql_where=sa.text("image_id IS NOT NULL"),
            sqlite_where=sa.text("image_id IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_batch_id",
            postgresql_where=sa.text("batch_id IS NOT NULL"),
            sqlite_where=sa.text("batch_id IS NOT NULL"),
        )

    op.drop_table("jobs")
    with op.batch_alter_table("reconstructions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reconstructions_sha256"))
        batch_op.drop_index("ix_reconstructions_same")

    op.drop_table("reconstructions")
    op.drop_table("descriptions")
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_images_state"))
        batch_op.drop_index(batch_op.f("ix_images_bitstream_sha256"))
        batch_op.drop_index(batch_op.f("ix_images_batch_id"))

    op.drop_table("images")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_outbox_due_at"))

    op.drop_table("outbox")
    with op.batch_alter_table("loose_objects", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_loose_objects_due_at"))

    op.drop_table("loose_objects")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_keys_created_at"))

    op.drop_table("idempotency_keys")
    op.drop_table("batches")

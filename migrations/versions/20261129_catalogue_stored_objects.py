"""Catalogue stored objects, and let a deletion be claimed before it is carried out."""

import sqlalchemy as sa
from alembic import op

revision = "7d1c5b0e92a4"
down_revision = "3bed30fca41c"
branch_labels = None
depends_on = None

_FILL = """
INSERT INTO stored_objects (key, kind, sha256, size_bytes, location, created_at)
SELECT key, kind, sha256, max(size_bytes), key, min(created_at) FROM (
    SELECT 'bitstreams/' || bitstream_sha256 || '.misc' AS key, 'bitstream' AS kind, bitstream_sha256 AS sha256,
        bitstream_bytes AS size_bytes, created_at
    FROM images WHERE bitstream_sha256 IS NOT NULL
    UNION ALL
    SELECT original_key, 'original', original_sha256, original_bytes, created_at
    FROM images WHERE original_key IS NOT NULL AND original_sha256 IS NOT NULL
    UNION ALL
    SELECT reference_key, 'reference', substr(reference_key, 12, 64), NULL, created_at
    FROM images WHERE reference_key IS NOT NULL
    UNION ALL
    SELECT object_key, 'reconstruction', sha256, size_bytes, created_at
    FROM reconstructions WHERE object_key IS NOT NULL AND sha256 IS NOT NULL
    UNION ALL
    SELECT object_key, 'request', substr(object_key, 10, 64), size_bytes, created_at
    FROM description_requests
) AS referred
GROUP BY key, kind, sha256
"""


def upgrade() -> None:
    op.create_table(
        "stored_objects",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "bitstream",
                "original",
                "reconstruction",
                "reference",
                "request",
                name="objectkind",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("location", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stored_objects")),
    )
    op.create_index(op.f("ix_stored_objects_sha256"), "stored_objects", ["sha256"])
    op.create_index(op.f("ix_stored_objects_last_verified_at"), "stored_objects", ["last_verified_at"])
    op.execute(_FILL)
    op.add_column("loose_objects", sa.Column("deletion_token", sa.String(length=32), nullable=True))
    op.add_column("loose_objects", sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("loose_objects", "blocked_until")
    op.drop_column("loose_objects", "deletion_token")
    op.drop_table("stored_objects")

"""Note what lies in packs."""

import sqlalchemy as sa
from alembic import op

revision = "d83b6f0a4e17"
down_revision = "5d83c6f0e17a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pack_members",
        sa.Column("pack_key", sa.String(length=200), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("pack_key", "start", name=op.f("pk_pack_members")),
    )
    live, dead = sa.text("deleted_at IS NULL"), sa.text("deleted_at IS NOT NULL")
    op.create_index(
        "ix_pack_members_live", "pack_members", ["key"], unique=True, postgresql_where=live, sqlite_where=live
    )
    op.create_index("ix_pack_members_dead", "pack_members", ["deleted_at"], postgresql_where=dead, sqlite_where=dead)
    op.create_index(op.f("ix_stored_objects_created_at"), "stored_objects", ["created_at"])


def downgrade() -> None:
    # An earlier version finds no stream in a pack.
    packed = op.get_bind().execute(sa.text("SELECT count(*) FROM pack_members WHERE deleted_at IS NULL")).scalar()
    if packed:
        raise RuntimeError(f"{packed} streams and records lie in packs; run `misc admin packs --unpack` first")
    op.execute("DELETE FROM stored_objects WHERE kind = 'pack'")
    op.execute("DELETE FROM loose_objects WHERE key LIKE 'packs/%'")
    op.drop_index(op.f("ix_stored_objects_created_at"), "stored_objects")
    op.drop_index("ix_pack_members_dead", "pack_members")
    op.drop_index("ix_pack_members_live", "pack_members")
    op.drop_table("pack_members")

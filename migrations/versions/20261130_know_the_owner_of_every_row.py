"""Know the owner of every row, and keep keys, quotas and what was used."""

import sqlalchemy as sa
from alembic import op

revision = "d4e81f6b2c93"
down_revision = "c2e81f4b7d96"
branch_labels = None
depends_on = None

_OWNED = ("batches", "images", "jobs", "reconstructions")
_LISTED = ("batches", "images", "jobs")
_DEFAULT = "default"
_ANYBODY = "anybody"

_keys = sa.table("idempotency_keys", sa.column("caller", sa.String), sa.column("key", sa.String))


def upgrade() -> None:
    for table in _OWNED:
        op.add_column(table, sa.Column("owner", sa.String(length=64), server_default=_DEFAULT, nullable=False))
    is_other = sa.text(f"owner <> '{_DEFAULT}'")
    for table in _LISTED:
        op.create_index(f"ix_{table}_owner", table, ["owner", "id"], postgresql_where=is_other, sqlite_where=is_other)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_index(op.f("ix_api_keys_owner"), "api_keys", ["owner"])
    is_live = sa.text("revoked_at IS NULL")
    op.create_index(
        "ix_api_keys_name", "api_keys", ["name"], unique=True, postgresql_where=is_live, sqlite_where=is_live
    )
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("pictures", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("money", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_quotas")),
    )
    op.create_table(
        "daily_usage",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("pictures", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", name=op.f("pk_daily_usage")),
    )
    _give_keys_to_owners()


def downgrade() -> None:
    op.execute(_keys.delete().where(_keys.c.caller.not_in((_DEFAULT, _ANYBODY))))
    op.execute(_keys.update().where(_keys.c.caller == _DEFAULT).values(caller=_ANYBODY))
    for table in ("daily_usage", "quotas", "api_keys"):
        op.drop_table(table)
    for table in _LISTED:
        op.drop_index(f"ix_{table}_owner", table)
    for table in _OWNED:
        op.drop_column(table, "owner")


def _give_keys_to_owners() -> None:
    """Answers that are kept for replay go from callers to the owner that all of them are; where two callers used the
    same key, either answer may be the one that is asked for, and neither is kept."""
    several = sa.select(_keys.c.key).group_by(_keys.c.key).having(sa.func.count() > 1)
    op.execute(_keys.delete().where(_keys.c.key.in_(several)))
    op.execute(_keys.update().values(caller=_DEFAULT))

"""What lies in packs: one row for each stream and record, also for those that were deleted since."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base

_IS_LIVE = text("deleted_at IS NULL")
_IS_DEAD = text("deleted_at IS NOT NULL")


class PackMember(Base):
    """So many bytes of a pack, which are the object `key`. The pack itself is in `stored_objects`, its members are not.

    `deleted_at` is the tombstone: nothing refers to the member, or it lies elsewhere now; its bytes stay until the pack
    is rewritten. A key lives once.
    """

    __tablename__ = "pack_members"

    pack_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    offset: Mapped[int] = mapped_column("start", BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(200))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        Index("ix_pack_members_live", "key", unique=True, postgresql_where=_IS_LIVE, sqlite_where=_IS_LIVE),
        Index("ix_pack_members_dead", "deleted_at", postgresql_where=_IS_DEAD, sqlite_where=_IS_DEAD),
    )

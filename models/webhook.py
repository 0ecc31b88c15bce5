"""Addresses that are told of what ends."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, new_id, utc_now
from models.owner import Owned, owner_index

URL_LENGTH = 2000


def _index(name: str, column: str, condition: str) -> Index:
    return Index(name, column, postgresql_where=text(condition), sqlite_where=text(condition))


class Webhook(Owned, Base):
    """One of the owner's jobs, told of each end, or one of a batch, told of its end once.

    The secret is kept as it is: every message is signed with it.
    """

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("whk"))
    url: Mapped[str] = mapped_column(String(URL_LENGTH))
    secret: Mapped[str] = mapped_column(String(80))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    told_at: Mapped[datetime | None] = mapped_column()
    """When the message of the batch's end was written."""
    gone_at: Mapped[datetime | None] = mapped_column()
    """When the receiver answered that it wants no more (410)."""

    __table_args__ = (
        owner_index("webhooks"),
        _index("ix_webhooks_jobs", "owner", "batch_id IS NULL"),
        _index("ix_webhooks_batch_id", "batch_id", "batch_id IS NOT NULL"),
    )

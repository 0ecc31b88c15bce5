"""Notifications that were written in a transaction of their job and not yet handed to the broker."""

from datetime import datetime

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, utc_now


class OutboxRow(Base):
    """Written in the job's own transaction, deleted once the broker has the message; so none is ever forgotten."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    queue: Mapped[str] = mapped_column(String(24))
    due_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

"""Messages on their way to webhooks: written with what they tell of, sent until they are taken."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, new_id, text_enum, utc_now

ERROR_LENGTH = 300


class MessageState(StrEnum):
    """Where a message is on its way."""

    WAITING = "waiting"
    """It is sent when it is due."""
    DELIVERED = "delivered"
    """The receiver answered with a 2xx."""
    FAILED = "failed"
    """The last attempt failed; a replay sends it again."""


class WebhookMessage(Base):
    """`body` is what is sent and signed, the same at each attempt; `status` and `error` are the last one's."""

    __tablename__ = "webhook_messages"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("msg"))
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(ID_LENGTH))
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[MessageState] = mapped_column(text_enum(MessageState), default=MessageState.WAITING)
    due_at: Mapped[datetime] = mapped_column(default=utc_now)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(String(ERROR_LENGTH))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        Index("ix_webhook_messages_webhook_id", "webhook_id", "id"),
        Index("ix_webhook_messages_due", "state", "due_at"),
    )

"""Descriptions bought from a language model, kept for ever, and who is buying one now."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, JSONObject, utc_now


class CachedDescription(Base):
    """`content` is None while somebody is buying it; that claim ends when it is not renewed any more."""

    __tablename__ = "bought_answers"

    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    content: Mapped[JSONObject | None] = mapped_column(JSON(none_as_null=True))
    buyer: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    claimed_until: Mapped[datetime | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

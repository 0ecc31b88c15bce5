"""Requests for descriptions that go to a language model many at a time, through its Batch API."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, text_enum, utc_now


class RequestState(StrEnum):
    """Where a request is."""

    WAITING = "waiting"
    """For a lot to go with."""
    SENT = "sent"
    """It belongs to a lot that has not ended."""


class DescriptionRequest(Base):
    """One for each picture, by the key of its answer; it goes when there is an answer, or will be none.

    The line to send lies in storage under `object_key`. `cost` is the most that it can cost, in the currency of the
    prices.
    """

    __tablename__ = "description_requests"

    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    state: Mapped[RequestState] = mapped_column(text_enum(RequestState), default=RequestState.WAITING)
    object_key: Mapped[str] = mapped_column(String(200), index=True)
    size_bytes: Mapped[int] = mapped_column(Integer)
    cost: Mapped[float] = mapped_column(Float)
    lot_id: Mapped[str | None] = mapped_column(String(ID_LENGTH), ForeignKey("description_lots.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    __table_args__ = (Index("ix_description_requests_next", "state", "created_at"),)

"""Responses stored for `Idempotency-Key`, so that a repeated request does nothing twice."""

from datetime import datetime

from sqlalchemy import JSON, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, JSONObject, utc_now


class IdempotencyKey(Base):
    """A key of one caller.

    `status` is null while the first request is answered by the process that has the lease, as `holder` names it; the
    lease is by the database's clock.
    """

    __tablename__ = "idempotency_keys"

    caller: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[JSONObject | None] = mapped_column(JSON)
    location: Mapped[str | None] = mapped_column(String(200))
    holder: Mapped[str | None] = mapped_column(String(32))
    lease_expires_at: Mapped[datetime | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

"""Lots of requests that were handed to a language model's Batch API together."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, new_id, utc_now


class LLMBatch(Base):
    """How far a lot is shows in what is known of it: nothing, the file on the server, the batch over it, its end.

    `claimant` works on it until `claimed_until`. The money set aside for it is in billionths, as in `spending`.
    """

    __tablename__ = "description_lots"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("lot"))
    file_id: Mapped[str | None] = mapped_column(String(200))
    batch_id: Mapped[str | None] = mapped_column(String(200))
    has_ended: Mapped[bool] = mapped_column(Boolean, default=False, index=True)
    spending_period: Mapped[str | None] = mapped_column(String(32))
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    claimant: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    claimed_until: Mapped[datetime | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

"""What was done for an owner, day by day."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base
from models.owner import OWNER_LENGTH


class DailyUsage(Base):
    """One row for each owner and day (UTC, `2026-11-22`). Money is in billionths, as in `spending`.

    Pictures and bytes are those taken in, whatever became of them since; what a language model's answers may cost is
    `reserved` until it is known.
    """

    __tablename__ = "daily_usage"

    owner: Mapped[str] = mapped_column(String(OWNER_LENGTH), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    pictures: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    spent: Mapped[int] = mapped_column(BigInteger, default=0)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)

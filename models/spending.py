"""Money spent on descriptions, so that a cap holds over all workers."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Spending(Base):
    """One row for each period. Amounts are billionths of the currency that the prices are in."""

    __tablename__ = "spending"

    period: Mapped[str] = mapped_column(String(32), primary_key=True)
    spent: Mapped[int] = mapped_column(BigInteger, default=0)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)

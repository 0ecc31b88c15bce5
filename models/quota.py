"""What an owner may have done in a day."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base
from models.owner import OWNER_LENGTH


class Quota(Base):
    """One row for each owner who has a limit; null is none. Money is in billionths, as in `spending`."""

    __tablename__ = "quotas"

    owner: Mapped[str] = mapped_column(String(OWNER_LENGTH), primary_key=True)
    pictures: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    money: Mapped[int | None] = mapped_column(BigInteger)

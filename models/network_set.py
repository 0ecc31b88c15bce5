"""Which networks the decode workers restore by now, so that what older ones made is known as such."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, JSONObject, utc_now


class NetworkSet(Base):
    """One row for each restorer and set that an order can name; written by decode workers."""

    __tablename__ = "network_sets"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    weights: Mapped[JSONObject] = mapped_column(JSON)
    """SHA-256 of each network by part."""
    noted_at: Mapped[datetime] = mapped_column(default=utc_now)

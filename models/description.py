"""The description of an image, names included; the stream itself keeps no names."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, JSONObject, utc_now


class DescriptionRecord(Base):
    """One description for each image. `content` is JSON because PostgreSQL text cannot hold every character."""

    __tablename__ = "descriptions"

    image_id: Mapped[str] = mapped_column(
        String(ID_LENGTH), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True
    )
    describer: Mapped[str] = mapped_column(String(40))
    content: Mapped[JSONObject] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

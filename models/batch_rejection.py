"""Pictures that were sent into a batch and could not be taken."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, utc_now

MESSAGE_CHARS = 1000


class BatchRejection(Base):
    """One row for each name in a batch; it goes when a picture of that name is taken after all.

    `name` has the folders in front. Databases index no text of any length, so the key has its SHA-256.
    """

    __tablename__ = "batch_rejections"

    batch_id: Mapped[str] = mapped_column(String(ID_LENGTH), ForeignKey("batches.id"), primary_key=True)
    name_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(1000))
    code: Mapped[str] = mapped_column(String(60))
    message: Mapped[str] = mapped_column(String(MESSAGE_CHARS))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

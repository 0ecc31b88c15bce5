"""Objects in storage that nothing may need: being written and not yet recorded, or no longer referred to."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class PendingDeletion(Base):
    """The object is deleted after `due_at` unless a row of another table refers to it by then."""

    __tablename__ = "loose_objects"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)

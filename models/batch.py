"""A group of images that were submitted to be followed together."""

from datetime import datetime

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, new_id, utc_now
from models.owner import Owned, owner_index


class Batch(Owned, Base):
    """Counts and progress of a batch are read off its jobs, so they cannot disagree with them."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("bat"))
    name: Mapped[str | None] = mapped_column(String(255))
    expected: Mapped[int | None] = mapped_column(Integer)
    """How many pictures whoever fills it has announced; without, it is done whenever all that came has ended."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    __table_args__ = (owner_index("batches"),)

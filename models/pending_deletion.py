"""Objects in storage that nothing may need: being written and not yet recorded, or no longer referred to."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base


class PendingDeletion(Base):
    """The object is deleted after `due_at` unless a row of another table refers to it by then.

    While one sweep deletes it, `deletion_token` names that deletion. The key may not be reserved before
    `blocked_until`, since a deletion that was begun may still reach the store; see `core.archive.object_lifecycle`.
    """

    __tablename__ = "loose_objects"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)
    deletion_token: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    blocked_until: Mapped[datetime | None] = mapped_column()
    retained_at: Mapped[datetime | None] = mapped_column()
    """When a lock of the store last refused the deletion, which is tried again after it; null where none did."""
